"""Measuring from the page: what to start on this machine, how it goes, and what went before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import streamlit as st

import drawing
import login
from drawing import safe
from llmsizer.errors import InputError, LlmSizerError
from llmsizer.quantize.recipes import RECIPES
from measuring import folders, jobs, watcher
from texts import say

RECORDS = Path("measured") / "profiles.jsonl"  # below the output folder, where every page finds it
MODELS, VARIANTS = "models", "variants"
SMALL_METHODS = ("openvino-fp16", "openvino-int8", "openvino-int4")
POINTS = {
    "quick": "1x32x16,8x64x16",
    "usual": "1x32x16,1x128x16,1x512x16,4x64x16,8x64x16,16x64x16",
    "long": "1x128x128,1x1024x128,4x512x128,16x256x128",
}
SECONDS_BETWEEN_LOOKS = 1.0


def show(output: Path) -> None:
    """The whole part: the running job, three things to start, and the jobs of before."""
    if not _may_measure():
        st.info(safe(say("profiles.log_in")))
        return
    busy = jobs.busy_with()
    if busy is not None and busy[0].parent.parent != output.resolve():
        st.warning(safe(say("profiles.busy_elsewhere", title=busy[1])))
    small, quantize, profile = st.columns(3)
    with small.container(border=True, height="stretch"):
        _small_model(output, busy is not None)
    places = folders.below(output)
    with quantize.container(border=True, height="stretch"):
        _quantize(output, places, busy is not None)
    with profile.container(border=True, height="stretch"):
        _profile(output, places, busy is not None)
    if busy is not None:
        st.caption(safe(say("profiles.busy", title=busy[1])))
    _earlier(output)


def banner(output: Path) -> None:
    """The job that runs, on every part of the page; seen by every browser, as it lies in the output folder."""
    running = [job for job in jobs.jobs(output) if job.is_alive]
    if running and _may_measure():
        st.fragment(_watch, run_every=SECONDS_BETWEEN_LOOKS)(running[0].folder)


def _watch(folder: Path) -> None:
    job = jobs.read(folder)
    if not job.is_alive:
        st.rerun(scope="app")
    with st.container(border=True):
        st.markdown(f"**{safe(job.title)}** — {safe(say(f'profiles.state_{job.state}'))}")
        step = job.steps[job.step].title if job.step < len(job.steps) else ""
        words = say("profiles.step", number=job.step + 1, count=len(job.steps), title=step, what=job.what or "…")
        st.progress(job.fraction, text=safe(words))
        at_once = job.state == "stopping"
        label = say("profiles.end_at_once") if at_once else say("profiles.cancel")
        st.button(label, key="cancel", on_click=jobs.cancel, args=(job,), kwargs={"at_once": at_once})
        st.caption(safe(say("profiles.cancel_keeps")))
        _log(job)


def _log(job: jobs.Job) -> None:
    said = jobs.log_tail(job)
    if said.strip():
        with st.expander(say("profiles.log")):
            st.code(said, language=None, wrap_lines=True)


def _may_measure() -> bool:
    """Where a login is configured, only those who are logged in may use the machine."""
    return not login.is_configured() or bool(st.user.get("is_logged_in"))


def _start(output: Path, title: str, steps: Callable[[], Sequence[jobs.Step]]) -> None:
    """Start, and say in one sentence what stood in the way."""
    if not _may_measure():  # asked again: a button may be pressed in a session whose login has ended
        st.session_state["job_problem"] = say("profiles.log_in")
        return
    try:
        jobs.start(output, title, steps())
        st.session_state.pop("job_problem", None)
    except LlmSizerError as error:
        st.session_state["job_problem"] = str(error)


def problem() -> None:
    """Why the last start did not happen."""
    said = st.session_state.get("job_problem")
    if said:
        st.warning(safe(said))


def _small_model(output: Path, is_busy: bool) -> None:
    st.markdown(f"**{safe(say('profiles.small'))}**")
    st.caption(safe(say("profiles.small_help")))
    title = say("profiles.small_title")
    st.button(
        say("profiles.small_start"), key="start_small", type="primary", disabled=is_busy,
        on_click=_start, args=(output, title, lambda: small_model_steps(output)),
    )  # fmt: skip


def small_model_steps(output: Path) -> list[jobs.Step]:
    """A small model trained here, three formats of it, and what each does on this machine."""
    output = output.resolve()
    out = str(output / VARIANTS / "small")
    quantize = ("quantize", watcher.CHECKPOINT, "--methods", ",".join(SMALL_METHODS), "--out", out, "--json")
    model = ("model", "--out", str(output / MODELS), "--json")
    return [
        jobs.Step(title=say("profiles.step_model"), arguments=model),
        jobs.Step(title=say("profiles.step_quantize"), arguments=quantize),
        _profile_step(output, [watcher.VARIANTS], POINTS["usual"], 5),
    ]


def _profile_step(output: Path, what: Sequence[str], points: str, repeats: int) -> jobs.Step:
    records = str(output.resolve() / RECORDS)
    options = ("--records", records, "--points", points, "--repeats", str(repeats), "--json")
    return jobs.Step(title=say("profiles.step_profile"), arguments=("profile", *what, *options))


def _quantize(output: Path, places: Sequence[folders.Place], is_busy: bool) -> None:
    st.markdown(f"**{safe(say('profiles.quantize'))}**")
    with st.form("quantize_form", border=False, enter_to_submit=False):
        chosen = _place_of([p for p in places if p.kind == "checkpoint"], "quantize")
        methods = st.multiselect(
            say("profiles.methods"), list(RECIPES), [m for m in SMALL_METHODS if m in RECIPES],
            key="quantize_methods", help=say("profiles.methods_help"),
        )  # fmt: skip
        asked = st.form_submit_button(say("profiles.quantize_start"), disabled=is_busy)
    if asked:
        title = say("profiles.quantize_title", methods=", ".join(methods))
        _start(output, title, lambda: quantize_steps(output, chosen(), methods))
        st.rerun()


def quantize_steps(output: Path, place: folders.Place, methods: Sequence[str]) -> list[jobs.Step]:
    """One command. Raises InputError."""
    if place.kind != "checkpoint":
        raise InputError(say("profiles.not_a_checkpoint", name=place.label))
    if not methods:
        raise InputError(say("profiles.no_methods"))
    out = output.resolve() / VARIANTS / place.path.name
    command = ("quantize", str(place.path), "--methods", ",".join(methods), "--out", str(out), "--json")
    return [jobs.Step(title=say("profiles.step_quantize"), arguments=command)]


def _profile(output: Path, places: Sequence[folders.Place], is_busy: bool) -> None:
    st.markdown(f"**{safe(say('profiles.profile'))}**")
    with st.form("profile_form", border=False, enter_to_submit=False):
        by_label = {place.label: place for place in places}
        found = st.multiselect(
            say("profiles.folders"), list(by_label), key="profile_folders", help=say("profiles.folders_help"),
            placeholder=say("profiles.choose_folders" if by_label else "profiles.no_folders"),
        )  # fmt: skip
        typed = st.text_input(say("profiles.path"), key="profile_path", max_chars=1000, help=say("profiles.path_help"))
        grid = st.selectbox(
            say("profiles.points"), list(POINTS), index=1, key="profile_points",
            format_func=lambda name: say(f"profiles.points_{name}"),
        )  # fmt: skip
        repeats = st.number_input(say("profiles.repeats"), 1, 100, 5, key="profile_repeats")
        asked = st.form_submit_button(say("profiles.profile_start"), disabled=is_busy)
    if asked:

        def steps() -> list[jobs.Step]:
            chosen = [by_label[label] for label in found] + ([folders.checked(typed)] if typed.strip() else [])
            return profile_steps(output, chosen, POINTS[grid or "usual"], int(repeats or 5))

        named = [*(Path(label).name for label in found), *([Path(typed.strip()).name] if typed.strip() else [])]
        _start(output, say("profiles.profile_title", names=", ".join(named)[:120]), steps)
        st.rerun()


def profile_steps(output: Path, places: Sequence[folders.Place], points: str, repeats: int) -> list[jobs.Step]:
    """One command over all of them, so that they are measured in turn. Raises InputError."""
    if not places:
        raise InputError(say("profiles.nothing_chosen"))
    return [_profile_step(output, [str(place.path) for place in places], points, repeats)]


def _place_of(places: Sequence[folders.Place], key: str) -> Callable[[], folders.Place]:
    """A folder from a list, or a path that wins where one is typed; looked at when it is started."""
    by_label = {place.label: place for place in places}
    chosen = st.selectbox(
        say("profiles.checkpoint"), list(by_label), key=f"{key}_folder",
        placeholder=say("profiles.no_folders"), index=0 if by_label else None,
    )  # fmt: skip
    typed = st.text_input(say("profiles.path"), key=f"{key}_path", max_chars=1000, help=say("profiles.path_help"))

    def place() -> folders.Place:
        if typed.strip():
            return folders.checked(typed)
        if chosen is None:
            raise InputError(say("profiles.nothing_chosen"))
        return by_label[chosen]

    return place


def _earlier(output: Path) -> None:
    earlier = [job for job in jobs.jobs(output) if not job.is_alive]
    if not earlier:
        return
    drawing.section(say("profiles.earlier"))
    for job in earlier:
        state = say(f"profiles.state_{job.state}")
        line = f"{safe(job.title)} · **{safe(state)}** · {safe(job.started_at.replace('T', ' ')[:16])}"
        st.markdown(line + (f"  \n:small[{safe(job.message)}]" if job.message else ""))
        _log(job)
