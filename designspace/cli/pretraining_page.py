"""The page of a pretraining, brought up to date by `pretrain` and `evaluate`."""

from pathlib import Path


def update_page(run: Path, device: str, cache: Path | None) -> Path | None:
    """Write report/index.html of a pretraining's folder, unless it is current.

    Returns:
        The page, or None before the end of the first epoch.
    """
    from designspace.pretraining.collect_findings import collect_findings, report_is_current

    if report_is_current(run):
        return run / "report" / "index.html"
    inputs = collect_findings(run, device, cache)
    if inputs is None:
        return None

    from designspace.analysis.pretraining_findings import summarize_pretraining
    from designspace.evaluation.scores import read_table
    from designspace.report.pretraining_page import write_pretraining_page

    findings = summarize_pretraining(**inputs, scores=read_table(run / "evaluation"))
    return write_pretraining_page(findings, run / "report")
