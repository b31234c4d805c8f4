"""What the supervisor starts for a training run: reads `spec.json`, trains, and leaves an artifact.

python -m finetuner.job.worker RUN_DIR
"""
