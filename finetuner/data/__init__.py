"""Training and evaluation data: read from files, lists and frames, checked, and written as the file that is uploaded.

The artifact of a synthesis run holds such a file, and is read like one.
"""

from finetuner.data.csv_lines import decoded as decoded
from finetuner.data.csv_rows import find_dialect as find_dialect
from finetuner.data.csv_rows import read_cells as read_cells
from finetuner.data.kinds import COLUMNS as COLUMNS
from finetuner.data.kinds import NUMBER_COLUMNS as NUMBER_COLUMNS
from finetuner.data.options import CSVOptions as CSVOptions
from finetuner.data.prepared import PreparedData as PreparedData
from finetuner.data.prepared import prepare as prepare
from finetuner.data.stored import FORMAT as FORMAT
from finetuner.data.stored import DataSet as DataSet
from finetuner.data.stored import header_line as header_line
from finetuner.data.stored import read as read
from finetuner.data.stored import row_line as row_line
