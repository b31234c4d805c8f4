"""The SDK for asyncio programs, written by hand; `finetuner.sync` is generated from it."""
