"""Executes the notebooks, and keeps what is committed equal to what a reader will see.

    python notebooks/execute.py                    # run every notebook and write its outputs
    python notebooks/execute.py --check            # run them, write nothing, complain about what is stale
    python notebooks/execute.py 02_echo.ipynb      # only this one

The exit status is 1 if a cell fails or, with ``--check``, if a committed text output is not what the cell gives now.
The code in the folded answers (``<details>``) is run too, behind the notebook's last cell, so that no answer rots.

A cell fails when the kernel says so in its reply. That is the one sign that holds for an exception group, as a failing
``assert`` inside a nursery gives: IPython prints a group to stderr and makes no error output, which is what nbmake and
nbval look for.

Pictures are written but not compared: they may show what was measured. Everything else that differs between two runs,
such as times, ports and addresses, has no place in an output.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

HERE = Path(__file__).resolve().parent

CELL_TIMEOUT = 60
"""Seconds after which a cell counts as hanging."""

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}

ANSWER = re.compile(r"<details>.*?</details>", re.DOTALL)
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def answers(notebook: nbformat.NotebookNode) -> list[str]:
    """The Python blocks inside the folded parts of the Markdown cells."""
    return [
        block
        for cell in notebook.cells
        if cell.cell_type == "markdown"
        for folded in ANSWER.findall(cell.source)
        for block in PYTHON_BLOCK.findall(folded)
    ]


def execute(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """A normalised copy with fresh outputs; raises what nbclient raises for a cell that fails or hangs."""
    fresh = nbformat.from_dict(notebook)
    length = len(fresh.cells)
    fresh.cells += [nbformat.v4.new_code_cell(answer) for answer in answers(notebook)]
    client = NotebookClient(
        fresh,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    del fresh.cells[length:]
    return normalised(fresh)


def normalised(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Takes out what depends on the machine and on how the outputs happened to arrive."""
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    number = 0
    for cell in notebook.cells:
        cell.metadata = _authors_own(cell.metadata)
        if cell.cell_type != "code":
            continue
        number += 1
        cell.execution_count = number
        merged: list[nbformat.NotebookNode] = []
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = number
            if output.output_type == "stream" and merged and merged[-1].get("name") == output.name:
                merged[-1].text += output.text
            else:
                merged.append(output)
        cell.outputs = merged
    return notebook


def _authors_own(metadata: nbformat.NotebookNode) -> dict[str, object]:
    """Tags, and whether the cell's code is folded away."""
    own: dict[str, object] = {"tags": metadata["tags"]} if metadata.get("tags") else {}
    if metadata.get("jupyter", {}).get("source_hidden"):
        own["jupyter"] = {"source_hidden": True}
    return own


def text_of(cell: nbformat.NotebookNode) -> str:
    """What a code cell shows, as text; of a picture, that there is one."""
    lines: list[str] = []
    for output in cell.outputs:
        if output.output_type == "stream":
            lines.append(f"[{output.name}]\n{output.text}")
        elif output.output_type == "error":
            lines.append(f"[error] {output.ename}: {output.evalue}")
        else:
            shown = output.data.get("text/markdown", output.data.get("text/plain", ""))
            lines.append(f"[{', '.join(sorted(output.data))}]\n{shown}")
    return "\n".join(lines)


def differences(committed: nbformat.NotebookNode, fresh: nbformat.NotebookNode) -> Iterator[str]:
    """One text for each code cell whose committed text output is not the fresh one."""
    pairs = zip(committed.cells, fresh.cells, strict=True)
    for number, (old, new) in enumerate((pair for pair in pairs if pair[0].cell_type == "code"), 1):
        diff = difflib.unified_diff(
            text_of(old).splitlines(), text_of(new).splitlines(), "committed", "fresh", lineterm="", n=1
        )
        if lines := list(diff):
            yield f"code cell {number}:\n" + "\n".join(lines)


def process(path: Path, *, check: bool) -> bool:
    """Runs one notebook, and compares or writes it; says how it went; returns whether all is well."""
    committed = nbformat.read(path, as_version=4)
    began = time.perf_counter()
    try:
        fresh = execute(committed, path.parent)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        print(f"{path.name}: a cell failed\n{error}", file=sys.stderr)
        return False
    seconds = time.perf_counter() - began
    if check:
        stale = list(differences(committed, fresh))
        if stale:
            print(
                f"{path.name}: committed outputs are stale; run `python notebooks/execute.py {path.name}`, "
                "look at the result, and commit it",
                *stale,
                sep="\n",
                file=sys.stderr,
            )
            return False
    else:
        nbformat.validate(fresh)
        nbformat.write(fresh, path)
    print(f"{path.name}: {seconds:.1f} s")
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("notebooks", nargs="*", help="names or paths; all in this folder if none is given")
    parser.add_argument("--check", action="store_true", help="write nothing; fail on stale outputs")
    arguments = parser.parse_args()
    paths = [Path(name) if Path(name).exists() else HERE / name for name in arguments.notebooks]
    results = [process(path, check=arguments.check) for path in paths or sorted(HERE.glob("*.ipynb"))]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
