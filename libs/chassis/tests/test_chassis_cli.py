"""The operator's command line: every list in the same columns, every act audited, exit codes, nothing of a patient."""

import asyncio
import json
import os
import re
from pathlib import Path
from typing import NoReturn
from uuid import UUID, uuid4

import pytest
from chassis_bench_domain import Behaviour, event
from pydantic_settings import SettingsConfigDict
from test_chassis_batch import executor, item
from test_chassis_console import delivery, state_of

from chassis.messaging import PROCESSED, Replayed, ReplayOutcome
from chassis.operate import ServiceDefinition, hl7, inbox, logged_in_user, main
from chassis.operate.listing import WIDTH
from chassis.settings import ServiceSettings

pytestmark = pytest.mark.stack
PATIENT = "Roe^Jane"
LONG = "resource 'GHOST CT' of FAC01 is not a HealthcareService of OmegaAI's organisation 2"


class DemoSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="DEMO_", env_nested_delimiter="__")


async def never(_settings: DemoSettings) -> None:
    raise AssertionError("no command of an operator starts the service")


class CommandLine:
    """Runs commands as an operator does, and keeps what they said."""

    def __init__(self, capsys) -> None:
        self._capsys = capsys
        self.replayed: list[tuple[UUID, str]] = []
        self.errors = ""

    async def _replay(self, _settings, _store, identifier: UUID, actor: str) -> Replayed:
        if identifier.int == 0:
            raise KeyError(str(identifier))
        self.replayed.append((identifier, actor))
        if len(self.replayed) == 1:
            return Replayed(ReplayOutcome.FAILED, "facility 'FAC09' is not in the site file")
        return PROCESSED

    async def __call__(self, *words: object) -> tuple[int, list[str]]:
        definition = ServiceDefinition(
            "demo", DemoSettings, never, Path(), ("partner",), [inbox.commands, hl7.commands(self._replay)]
        )
        self._capsys.readouterr()
        try:
            code = await asyncio.to_thread(main, definition, [str(word) for word in words])
        except SystemExit as end:
            code = int(end.code or 0)
        said = self._capsys.readouterr()
        self.errors = said.err.strip()
        assert PATIENT not in said.err
        return code, said.out.splitlines()


def test_a_container_whose_uid_has_no_name_acts_as_its_number(monkeypatch) -> None:
    def nobody(_: int) -> NoReturn:
        raise KeyError("getpwuid(): uid not found: 1000650000")

    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert logged_in_user() == f"uid {os.getuid()}"


@pytest.fixture
def operator(store, database_url, capsys, monkeypatch) -> CommandLine:
    monkeypatch.setenv("DEMO_STORE__URL", database_url)
    monkeypatch.setattr("getpass.getuser", lambda: "ops")
    return CommandLine(capsys)


async def letter(store, *, key: bytes | None = None, value: bytes | None = b"Roe^Jane") -> UUID:
    if key is None:
        broken = event(uuid4(), 1)
        await executor(store, Behaviour(permanent={broken.aggregate_id})).run([item(broken)])
        return await store.pool.fetchval("SELECT id FROM dead_letters ORDER BY created_at DESC LIMIT 1")
    identifier = uuid4()
    await store.pool.execute(
        "INSERT INTO dead_letters (id, consumer, kind, reason, topic, partition, kafka_offset, key, value, headers,"
        " attempts) VALUES ($1, 'test', 'undecodable', 'no JSON', 'appointment.scheduled', 4, 160, $2, $3, '{}', 1)",
        identifier, key, value,
    )  # fmt: skip
    return identifier


async def waiting(store, *, state: str = "needs_setup", reason: str = LONG) -> UUID:
    identifier = uuid4()
    await store.pool.execute(
        "INSERT INTO hl7_journal (id, sender, control_id, digest, type, raw, state, reason, setting)"
        " VALUES ($1, 'RAMSOFT|FAC01', $2, '', 'SIU^S12', 'PID|Roe^Jane', $3, $4,"
        " 'OmegaAI: Scheduler > Edit Healthcare Services, or resource_aliases.FAC01 in the site file')",
        identifier, identifier.hex * 4, state, reason,
    )  # fmt: skip
    return identifier


async def timer(store, *, state: str = "dead", error: str = "told so", name: str = "-") -> UUID:
    key = uuid4()
    await store.pool.execute(
        "INSERT INTO timers (kind, key, name, revision, state, due_at, next_attempt_at, attempts, last_error)"
        " VALUES ('remind', $1, $2, 1, $3, clock_timestamp(), clock_timestamp(), 1, $4)",
        key, name, state, error,
    )  # fmt: skip
    return key


async def audit(store) -> list[tuple[str, str, str]]:
    return [tuple(row) for row in await store.pool.fetch("SELECT actor, action, subject FROM operator_audit")]


async def test_every_list_has_the_same_columns_within_the_width_and_no_patient(store, operator) -> None:
    key = uuid4()
    await store.pool.execute(
        "INSERT INTO parked_keys (consumer, key, reason, attempts) VALUES ('notifier', $1, $2, 3)", key, LONG
    )
    rows = {
        "dead-letters list": (await letter(store), "open", "1 dead letter"),
        "parked list": (key, "parked", "1 parked key"),
        "deliveries list": (await delivery(store, error=LONG), "dead", "1 delivery"),
        "timers list": (await timer(store, error=LONG), "dead", "1 timer"),
        "needs-setup list": (await waiting(store), "needs_setup", "1 message waits"),
        "journal list": (await store.pool.fetchval("SELECT id FROM hl7_journal"), "needs_setup", "1 message"),
    }
    for command, (identifier, state, count) in rows.items():
        code, lines = await operator(*command.split())
        assert (code, lines[-1]) == (0, count), command
        assert re.split(r"  +", lines[0]) == ["id", "at (UTC)", "state", "what"]
        assert lines[1].startswith(str(identifier))
        assert state in lines[1].split()
        assert lines[2].startswith("    "), "why it waits stands below"
        assert max(len(line) for line in lines) <= WIDTH, command
        assert PATIENT not in "".join(lines)
        code, lines = await operator(*command.split(), "--json")
        (row,) = [json.loads(line) for line in lines]
        assert str(identifier) in row.values()
        assert operator.errors == count, "so that standard output is JSON alone"
        assert PATIENT not in "".join(lines)


@pytest.mark.parametrize("length", [1, 20, 21, 22, 23, 63, 64])
async def test_a_value_that_is_too_long_for_its_column_is_not_cut(store, operator, length) -> None:
    identifier = await waiting(store, reason="no reason")
    control_id = "X" * (length - 1) + "Y"
    await store.pool.execute("UPDATE hl7_journal SET control_id = $1, setting = NULL", control_id)
    code, lines = await operator("needs-setup", "list")
    assert code == 0
    assert "…" not in "".join(lines)
    assert max(len(line) for line in lines) <= WIDTH
    assert f"SIU^S12{control_id}noreason" in re.sub(r"\s", "", "".join(lines))
    assert lines[1].startswith(f"{identifier}  ")


async def test_an_empty_list_says_none_and_a_full_one_that_there_may_be_more(store, operator) -> None:
    assert await operator("deliveries", "list") == (0, ["0 deliveries"])
    for _ in range(3):
        await delivery(store)
    assert (await operator("deliveries", "list", "--limit", 2))[1][-1] == "2 deliveries (no more are shown: --limit)"
    assert (await operator("deliveries", "list", "--state", "done"))[1] == ["0 deliveries"]


@pytest.mark.parametrize("limit", ["0", "-1", "many"])
async def test_a_limit_that_is_none_is_refused(operator, limit) -> None:
    assert await operator("deliveries", "list", "--limit", limit) == (2, [])
    assert f"'{limit}' is not a number from 1 to" in operator.errors


@pytest.mark.parametrize(
    "case",
    [
        ("deliveries", delivery, "retry", "pending", "delivery.retry"),
        ("deliveries", delivery, "drop", "dropped", "delivery.drop"),
        ("dead-letters", letter, "replay", "replayed", "dead-letter.replay"),
        ("dead-letters", letter, "drop", "dropped", "dead-letter.drop"),
    ],
)
async def test_an_act_says_what_it_did_and_is_audited_and_is_done_once(store, operator, case) -> None:
    group, make, act, state, action = case
    identifier = await make(store)
    code, lines = await operator(group, act, identifier)
    assert code == 0
    assert str(identifier) in lines[-1]
    assert await state_of(store, group.replace("-", "_"), identifier) == state
    assert await audit(store) == [("ops", action, str(identifier))]
    code, lines = await operator(group, act, uuid4())
    assert (code, lines) == (1, [])
    assert operator.errors.startswith("there is no open d")
    assert len(await audit(store)) == 1
    assert (await operator(group, act, "no-id"))[0] == 2


@pytest.mark.parametrize("key", [b"no-uuid", b"\xff\xfe\x00"])
async def test_a_letter_whose_key_is_no_aggregates_is_handled_again_in_a_line_of_its_own(store, operator, key) -> None:
    identifier = await letter(store, key=key)
    assert (await operator("dead-letters", "replay", identifier))[0] == 0
    assert await store.pool.fetchval("SELECT key FROM parked_messages") == identifier
    assert await store.pool.fetchval("SELECT key FROM parked_keys") == identifier


async def test_content_is_shown_only_when_asked_and_that_is_audited(store, operator) -> None:
    identifier = await letter(store, key=b"no-uuid")
    code, lines = await operator("dead-letters", "show", identifier)
    assert (code, lines[-1]) == (0, f"dead letter {identifier}: open")
    assert PATIENT not in "".join(lines)
    assert await audit(store) == []
    code, lines = await operator("dead-letters", "show", identifier, "--content", "--actor", "jo")
    assert PATIENT in "".join(lines)
    message = await waiting(store)
    code, lines = await operator("needs-setup", "show", message)
    assert code == 0
    assert PATIENT in "".join(lines)
    assert lines[-1].startswith(f"message {message}: needs_setup: resource 'GHOST CT'")
    assert await audit(store) == [("jo", "dead-letter.show", str(identifier)), ("ops", "hl7.show", str(message))]


async def test_a_parked_key_is_released(store, operator) -> None:
    key = uuid4()
    await store.pool.execute(
        "INSERT INTO parked_keys (consumer, key, reason, next_attempt_at)"
        " VALUES ('notifier', $1, 'not here yet', clock_timestamp() + interval '1 hour')", key,
    )  # fmt: skip
    assert await operator("parked", "release", "notifier", key) == (0, [f"parked key {key} is tried again now"])
    assert await store.pool.fetchval("SELECT next_attempt_at <= clock_timestamp() FROM parked_keys")
    assert await audit(store) == [("ops", "parked.release", str(key))]
    assert (await operator("parked", "release", "notifier", uuid4()))[0] == 1


async def test_messages_that_wait_are_processed_again_oldest_first(store, operator) -> None:
    first, second = await waiting(store), await waiting(store, state="failed", reason="bug: KeyError")
    code, lines = await operator("needs-setup", "replay", "--all")
    assert [identifier for identifier, _ in operator.replayed] == [first, second]
    assert (code, lines[-1]) == (1, "demo: 1 processed, 1 still wait")
    code, lines = await operator("needs-setup", "replay", second)
    assert (code, lines[-1]) == (0, "demo: 1 processed, 0 still wait")
    assert (await operator("needs-setup", "replay"))[0] == 2
    assert operator.errors == "name one message, or --all"
    assert (await operator("needs-setup", "replay", UUID(int=0)))[0] == 1


@pytest.mark.parametrize("words", ["", "dead-letters", "parked", "deliveries", "needs-setup", "journal"])
async def test_help_is_there_for_every_group(operator, words) -> None:
    code, lines = await operator(*words.split(), "--help")
    assert code == 0
    assert lines[0].startswith("usage: python -m demo")


async def test_a_store_that_is_away_is_named_in_one_line(operator, monkeypatch) -> None:
    monkeypatch.setenv("DEMO_STORE__URL", "postgresql://demo:secret@127.0.0.1:1/demo")
    assert await operator("deliveries", "list") == (1, [])
    assert operator.errors.startswith("demo: the store 127.0.0.1:1/demo does not answer")
    assert len(operator.errors.splitlines()) == 1
    assert "secret" not in operator.errors


async def test_a_store_that_cannot_do_it_now_says_why_in_one_line(store, operator) -> None:
    await store.pool.execute("ALTER TABLE deliveries RENAME TO elsewhere")
    assert await operator("deliveries", "list") == (1, [])
    assert operator.errors.startswith("demo: the store's tables are not this version's: UndefinedTableError")
    assert len(operator.errors.splitlines()) == 1


async def test_a_timer_is_retried_or_cancelled(store, operator) -> None:
    dead, other = await timer(store, name="day-before"), await timer(store)
    assert await operator("timers", "retry", "remind", dead, "day-before") == (
        0, [f"timer remind {dead} day-before is tried now"],
    )  # fmt: skip
    assert await operator("timers", "cancel", "remind", other) == (0, [f"timer remind {other} - is cancelled"])
    assert (await operator("timers", "retry", "remind", other))[0] == 1
    assert (await operator("timers", "cancel", "remind", uuid4()))[0] == 1
    states = await store.pool.fetch("SELECT key, state FROM timers")
    assert {row["key"]: row["state"] for row in states} == {dead: "waiting", other: "cancelled"}
    assert await audit(store) == [("ops", "timer.retry", str(dead)), ("ops", "timer.cancel", str(other))]


async def test_all_dead_timers_of_a_kind_are_retried(store, operator) -> None:
    for _ in range(3):
        await timer(store)
    assert await operator("timers", "retry", "other", "--all") == (0, ["0 dead timers are tried now"])
    assert await operator("timers", "retry", "--all") == (0, ["3 dead timers are tried now"])
    assert (await operator("timers", "retry"))[0] == 2
    assert (await operator("timers", "retry", "remind", uuid4(), "--all"))[0] == 2
    assert await operator("timers", "list", "--state", "waiting", "--kind", "other") == (0, ["0 timers"])


@pytest.mark.parametrize("group", ["dead-letters", "parked", "missed", "needs-setup", "journal"])
def test_a_service_without_the_intake_has_none_of_its_commands(group, capsys) -> None:
    definition = ServiceDefinition("demo", DemoSettings, never, Path())
    with pytest.raises(SystemExit) as ended:
        main(definition, [group, "list"])
    assert ended.value.code == 2
    assert f"invalid choice: '{group}'" in capsys.readouterr().err


@pytest.mark.stack
async def test_migrate_says_where_the_tables_are_not_the_models(store, operator) -> None:
    assert await operator("migrate", "--check") == (
        1,
        ["remove_table things", "demo: 1 differences between the store's tables and the models"],
    )
    await store.pool.execute("DROP TABLE things")
    assert await operator("migrate", "--check") == (
        0,
        ["demo: 0 differences between the store's tables and the models"],
    )
