"""Snakemake's logger plugin `sibp`: a table before the first job, then one bar for the whole run, or a few plain lines in a pipe.

Only a run that the rules announce by `LogHandler.begin` is shown so. All else (dry runs, --summary, --lint, errors before the first job,
runs with --verbose or --quiet all) says what it says without the plugin, through Snakemake's own handler. The full log of a run is the file
that Snakemake writes in any case.
"""

import sys
from logging import WARNING, LogRecord
from threading import Event, RLock, Thread
from time import monotonic
from typing import Any

from rich.console import Console
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from .display import Bar, Display, Lines, Running
from .plan import from_facts

__all__ = ["LogHandler"]

WAIT = 5.0  # seconds that the table waits for the counted time
IN_JOB_LINE = {"RuleException", "CalledProcessError"}  # what a failed job's own line says in short


class LogHandler(LogHandlerBase):
    """Shows a run that was announced; hands all other records to Snakemake's own handler."""

    writes_to_stream, writes_to_file, has_filter, has_formatter, needs_rulegraph = True, False, True, True, False

    def __post_init__(self) -> None:
        self.held: list[LogRecord] = []  # what is said before it is known whether a run begins
        self.display: Display | None = None
        self.changing, self.closing = RLock(), Event()
        self.plain = _own_handler(self.common_settings)
        shown = self.common_settings
        self.is_plain = shown.dryrun or shown.verbose or shown.debug_dag or "all" in map(str, shown.quiet or ())

    def begin(self, facts: dict[str, Any]) -> None:
        """Show the table of a run and, from here on, its progress; return when the table is shown.

        Args:
            facts: the fields of `plan.Plan` as plain values.
        """
        if self.is_plain:
            return
        plan = from_facts(facts)
        plan.count()
        plan.take_count(WAIT)
        with self.changing:
            console = Console(file=sys.stderr, no_color=self.common_settings.nocolor or None)
            on_terminal = console.is_terminal and not console.is_dumb_terminal
            display = Bar(plan, console) if on_terminal else Lines(plan, sys.stderr)
            display.table()
            for record in self.held:
                if record.levelno >= WARNING:
                    _say(display, record)
            self.held, self.display = [], display
        Thread(target=self.watch, daemon=True).start()

    def watch(self) -> None:
        """Show about every second what has changed."""
        while not self.closing.wait(1.0):
            with self.changing:
                if self.display and not self.closing.is_set():
                    self.display.tick()

    def emit(self, record: LogRecord) -> None:
        with self.changing:
            if self.display:
                self.show(self.display, record)
            elif self.is_plain:
                self.plain.handle(record)
            else:
                self.held.append(record)
                if record.levelno > WARNING or getattr(record, "event", None) == LogEvent.JOB_STARTED:
                    self.say_held()

    def say_held(self) -> None:
        """Say all that was held: no run was announced."""
        self.is_plain = True
        for record in self.held:
            self.plain.handle(record)
        self.held = []

    def show(self, display: Display, record: Any) -> None:  # a LogRecord with the attributes of its event
        event = getattr(record, "event", None)
        if event == LogEvent.JOB_INFO:
            log = record.log[0] if record.log else None
            job = display.plan.jobs.get(record.jobid)
            display.running[record.jobid] = Running(job.name if job else record.rule_name, log, monotonic())
        elif event == LogEvent.JOB_FINISHED:
            display.running.pop(record.job_id, None)
            display.finished.add(record.job_id)
            display.failed.discard(record.job_id)  # another try succeeded
        elif event == LogEvent.JOB_ERROR:
            running = display.running.get(record.jobid)
            if running or record.jobid not in display.failed:  # Snakemake repeats its errors at the end
                display.fail(record.jobid, running.name if running else record.rule_name, record.log[0] if record.log else None)
        elif record.levelno >= WARNING and getattr(record, "exception", None) not in IN_JOB_LINE:
            _say(display, record)

    def close(self) -> None:
        self.closing.set()
        with self.changing:
            if self.display:
                self.display.end()
                self.display = None
            elif not self.is_plain:
                self.say_held()
        super().close()


def _say(display: Display, record: LogRecord) -> None:
    for line in record.getMessage().splitlines():
        if line.strip():
            display.say(line)


def _own_handler(settings: Any) -> Any:
    """Return the handler that Snakemake has without a plugin."""
    from snakemake import logging

    make_filter, make_formatter = logging.DefaultFilter, logging.DefaultFormatter
    shown = settings.quiet, settings.debug_dag, settings.verbose, settings.dryrun, settings.printshellcmds
    return logging.ColorizingTextHandler(
        nocolor=settings.nocolor,
        stream=sys.stdout if settings.stdout else sys.stderr,
        filter=make_filter(*shown),  # ty: ignore[invalid-argument-type] - Snakemake's own filter
        formatter=make_formatter(settings.quiet, settings.show_failed_logs),
    )
