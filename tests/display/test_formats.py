"""Tables for documents: names of any origin stay names in every format."""

import csv
import io

from mer_r1.display.formats import comma_separated, latex, markdown
from mer_r1.display.grid import Grid

HOSTILE = r"50%_#1 & {x} | $a^2 \end~ <b> `c`"
GRID = Grid("3 clips", ("", "Δ\u00a0F1", "95\u00a0% interval"), ((HOSTILE, "−1.20", "[−2.00, –]"), ("[b]*", "", "")), 1)


def test_markdown_is_one_table_whatever_a_name_holds() -> None:
    lines = markdown(GRID, ["p_1 and _emphasis_"], ["set:a|n:3"]).splitlines()
    assert lines[:4] == ["3 clips", "", "|  | Δ F1 | 95 % interval |", "| --- | ---: | ---: |"]
    assert lines[4] == r"| 50%\_#1 & {x} \| $a^2 \\end~ \<b\> \`c\` | −1.20 | [−2.00, –] |"
    assert lines[5] == r"| \[b\]\* |  |  |"
    assert lines[-3:] == [r"p_1 and \_emphasis\_", "", "`set:a|n:3`"]


def test_latex_has_the_rules_of_booktabs_and_no_command_of_a_name() -> None:
    lines = latex(GRID, ["a note"], ["set:a|n:3"]).splitlines()
    assert lines[:5] == ["% 3 clips", "% a note", "% set:a|n:3", r"% \usepackage{booktabs}", r"\begin{tabular}{lrr}"]
    assert lines[5:8] == [r"\toprule", r" & $\Delta$~F1 & 95~\% interval \\", r"\midrule"]
    assert lines[8] == (
        r"50\%\_\#1 \& \{x\} \textbar{} \$a\textasciicircum{}2 \textbackslash{}end\textasciitilde{} $<$b$>$ "
        r"\textasciigrave{}c\textasciigrave{} & $-$1.20 & [$-$2.00, --] \\"
    )
    assert lines[9] == r"{}[b]* &  &  \\", "brackets behind a line's end would be its argument"
    assert lines[10:] == [r"\bottomrule", r"\end{tabular}"]


def test_csv_reads_back_as_it_was_written() -> None:
    text = comma_separated(["a", "b"], [('x, "y"\nz', 0.1 + 0.2), (None, 3)])
    assert list(csv.reader(io.StringIO(text))) == [["a", "b"], ['x, "y"\nz', "0.30000000000000004"], ["", "3"]]


def test_csv_holds_no_formula_of_a_name() -> None:
    assert comma_separated(["a", "b"], [("=1+1", -0.5), ("@x", 1)]) == "a,b\n'=1+1,-0.5\n'@x,1\n"
