"""What is said of a sweep in words, in the console and on its page."""

import shlex

from hymenoptera.results.paired_tests import SEED_SCATTER
from hymenoptera.results.sweeps import JobResult, Setting, Sweep
from hymenoptera.results.tables import format_interval, format_path

OTHER_DATA = (
    "not all jobs had the same pictures (another manifest in summary.json): rows are compared by "
    "path and label, and a picture of the same path may be another one"
)


def rerun_command(job: JobResult) -> str:
    """The command that trains as the job did."""
    return shlex.join(["python", "train.py", *job.given])


def longer_command(job: JobResult) -> str:
    """The command that trains as the job did for twice as many epochs, in a folder of its own.

    (To resume the job would change the sweep, and a schedule that has come to its end has little
    left to give.)
    """
    others = [text for text in job.given if text.split("=")[0] != "trainer.max_epochs"]
    epochs = 2 * int(job.summary["epochs"])
    return shlex.join(["python", "train.py", *others, f"trainer.max_epochs={epochs}"])


def test_says(sweep: Sweep) -> str | None:
    """How the winner did on the test set, and who was judged on it; None where nobody was."""
    winner, judged = sweep.winner, judged_jobs(sweep)
    if winner is None or not judged:
        return None
    others = [str(number) for number in judged if number != winner.number]
    names = f"job{'s' * (len(others) > 1)} {', '.join(others)}"
    if winner.test is None:
        return f"not judged by job {winner.number}, the best; judged by an earlier best, {names}"
    told = (
        f"{100 * winner.test['test_accuracy']:.1f} % "
        f"({winner.test['correct']} of {winner.test['count']}), 95 % interval "
        f"{format_interval(winner.test['interval'])}; "
    )
    if not others:
        return f"{told}judged once, by job {winner.number}"
    return (
        f"{told}judged {len(judged)} times, by job {winner.number} and by what was the best "
        f"before, {names}: it is no longer untouched"
    )


def judged_jobs(sweep: Sweep) -> list[int]:
    """Numbers of the jobs that were judged on the test set."""
    return [job.number for job in sweep.jobs if job.test is not None]


def verdict_of(setting: Setting) -> str:
    """What the table says of a setting beside the best."""
    missing = len(setting.jobs) - len(setting.done)
    failed = next((j for j in setting.jobs if j.state == "failed"), None)
    if not setting.done:
        return f"failed: {failed.reason}" if failed else setting.jobs[0].state
    words: str = setting.verdict
    if setting.verdict == "worse" and setting.p is not None:
        words = f"worse (p {_p(setting.p)})"
    pruned = [j.summary["pruned_after"] for j in setting.done if j.summary.get("pruned_after")]
    if pruned:
        words += f", stopped after epoch {pruned[0]}"
    if missing:
        words += f", {missing} {'failed' if failed else 'to do'}"
    return words


def notes(sweep: Sweep) -> list[str]:
    """What the table cannot say: luck, the test set, where things are, what to do next."""
    lines = []
    winner = sweep.winner
    if sweep.best is not None and winner is not None:
        compared = sum(setting.mean is not None for setting in sweep.settings)
        if compared > 1 and sweep.optimism is not None:
            lines.append(
                f"luck       the best of {compared} on these pictures is "
                f"{100 * sweep.optimism:.1f} points too high, on average"
            )
        if compared > 1 and not any(len(setting.done) > 1 for setting in sweep.settings):
            lines.append(
                f"seeds      {100 * SEED_SCATTER:.0f} points of scatter from seed to seed are "
                f"allowed for, as every row is one run; seed=1,2,3 would measure it"
            )
        if (told := test_says(sweep)) is not None:
            lines.append(f"test set   {told}")
        if not sweep.is_of_one_data_set:
            lines.append(f"data       {OTHER_DATA}")
        lines += [
            f"again      {rerun_command(winner)}",
            f"longer     {longer_command(winner)}",
        ]
    folder = format_path(sweep.folder.resolve())
    lines.append(f"page       {folder}/sweep.html")
    lines.append(f"curves     tensorboard --logdir {folder}")
    return lines


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
