"""Texts that try to become markup wherever a model, a data set or a user may put one."""

from dataclasses import replace

from swiftkv_bench.analysis import Analysis

EVIL = '</script><script>document.title="broken"</script><img src=x onerror="document.title=1">'


def hostile(analysis: Analysis) -> Analysis:
    """With a hostile prompt, target and answers of the first item, profile name, and findings."""
    part = analysis.accuracy[0]
    first = part.items[0]
    answers = {arm: replace(answer, text=EVIL) for arm, answer in first.answers.items()}
    item = replace(first, prompt=EVIL, target=EVIL, answers=answers)
    run = analysis.runs[0]
    return replace(
        analysis,
        runs=(replace(run, manifest=run.manifest.model_copy(update={"profile": EVIL})), *analysis.runs[1:]),
        accuracy=(replace(part, items=(item, *part.items[1:])),),
        findings=tuple(replace(f, message=f.message + EVIL) for f in analysis.findings),
    )
