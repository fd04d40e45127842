"""Checks at a start that the store is the right one, compared with its site, its partners and its topics.

A store that was restored to an earlier time, or belongs to another site, does silent harm: it repeats effects and
publishes known revisions. So the loops do not run until the store fits; probes and pages run, and report why.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import structlog
from aiokafka.errors import KafkaError

from chassis.errors import StoreUnavailable
from chassis.messaging import Published, Revisions, TopicReader, Unknown, evidence, published
from chassis.observe import Metrics, meters
from chassis.settings import KafkaSettings
from chassis.store import Identity, Store, asking, identity, is_of_the_schema, is_passing
from contracts.topics import TOPICS

FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 5.0, 60.0
"""Timeout of the first look at Kafka. Inputs wait for it, so it is short; later looks have more time."""
AGAIN_SECONDS: Final = 2.0
"""Pause between two looks of a waiting service, and between two beats of a running one."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """``unsure``: Kafka does not answer. ``why``: a sentence that ends in the command to give.

    Two kinds are refusals: the store was ``set back``, or it belongs ``elsewhere``.
    """

    kind: Literal["fits", "set back", "elsewhere", "unsure"]
    why: str = ""

    @property
    def is_refusal(self) -> bool:
        return self.kind in {"set back", "elsewhere"}


FITS: Final = Verdict("fits")


@dataclass(frozen=True, slots=True)
class Consumes:
    """A consumer's name and its topics."""

    consumer: str
    topics: tuple[str, ...]


class StoreGuard:
    """The guard of one service. ``is_sure`` is set once the store was compared with the topics and fits."""

    def __init__(
        self,
        store: Store,
        kafka: KafkaSettings,
        *,
        service: str,
        belongs_to: Mapping[str, str],
        metrics: Metrics,
        revisions: Revisions | None = None,
        consumes: Consumes | None = None,
        may_run_unsure: bool = False,
    ) -> None:
        """``revisions`` is for a service that publishes, ``consumes`` for one that reads topics.

        ``may_run_unsure``: the service takes inputs while Kafka is away; its events wait until the guard is sure.
        """
        self._store = store
        self._kafka = kafka
        self._service = service
        self._belongs_to = belongs_to
        self._metrics = metrics
        self._revisions = revisions
        self._consumes = consumes
        self.may_run_unsure = may_run_unsure
        self.is_sure = asyncio.Event()
        self._beat = 0
        self._patience_seconds = FIRST_LOOK_SECONDS
        self.problem: str | None = "the store has not been compared with the topics yet"

    @property
    def command(self) -> str:
        return f"python -m {self._service.replace('-', '_')}"

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that the service publishes to or reads."""
        produced = [name for name, topic in TOPICS.items() if topic.producer == self._service and self._revisions]
        return tuple(dict.fromkeys([*produced, *(self._consumes.topics if self._consumes else ())]))

    async def check(self) -> None:
        """For readiness: raises while the service does not run, or runs unsure."""
        if self.problem is not None:
            raise RuntimeError(self.problem)

    async def look(self, *, within_seconds: float | None = None) -> Verdict:
        """Compares now, and logs what does not fit. A server that is away raises nothing.

        ``within_seconds``: a command's timeout; a start's timeout is short at first and grows.
        """
        try:
            async with asyncio.timeout(within_seconds or self._patience_seconds):
                with asking():
                    verdict = await self._look()
        except (KafkaError, TimeoutError) as error:
            self._patience_seconds = min(2 * self._patience_seconds, LONGEST_LOOK_SECONDS)
            verdict = Verdict("unsure", f"Kafka does not answer ({type(error).__name__})")
        except StoreUnavailable as error:
            verdict = Verdict(
                "unsure", f"the store or Kafka does not answer ({type(error.__cause__ or error).__name__})"
            )
        self._tell(verdict)
        return verdict

    async def went_back(self) -> str | None:
        """The reason why this is not the store that the process has used so far; None while it is, or does not answer.

        To a running service, a server that is restored looks like a lost connection.
        """
        try:
            beat = await identity.beat(self._store.pool)
        except Exception as error:
            if is_of_the_schema(error):
                return f"the store has lost its identity ({type(error).__name__})"
            if is_passing(error):
                return None
            raise
        if beat <= self._beat:
            return "the store was set back under the running service"
        self._beat = beat
        return None

    def _tell(self, verdict: Verdict) -> None:
        self._metrics.set(meters.STORE_REFUSED, float(verdict.is_refusal))
        is_news, self.problem = self.problem != verdict.why, verdict.why or None
        if verdict.kind == "fits":
            self.is_sure.set()
            log.info("store.fits", service=self._service)
        elif is_news and verdict.is_refusal:
            log.critical("store.refused", why=verdict.why)
        elif is_news:
            log.warning("store.not-compared", why=verdict.why)
        if verdict.kind == "unsure" and self.may_run_unsure:
            self.problem = None  # the check of Kafka reports it already, and inputs are taken

    async def _look(self) -> Verdict:
        pool = self._store.pool
        known = await identity.read(pool)
        if known is not None and (refusal := self._stranger(known, self._belongs_to)):
            return refusal
        kafka = await self.kafka_names()
        if known is not None and (refusal := self._stranger(known, kafka)):
            return refusal
        belongs_to = {**self._belongs_to, **kafka}
        if known is not None and known.recovery_began_at is not None:
            began = f"{known.recovery_began_at:%Y-%m-%d %H:%M:%S}"
            return Verdict(
                "set back", f"a recovery began at {began} UTC and has not ended: let it end, or {self.command} recover"
            )
        async with published.opened(self._kafka, self.topics) as reader:
            records = await self._newest(reader)
            handled = await self._newest_handled(reader)
            unknown = await self._unknown(known, reader, records, handled)
            if unknown is not None:
                return self._set_back(known, unknown)
            await self._look_for_losses(reader, records)
        if known is None:
            known = await identity.found(pool, self._service, belongs_to)
            if refusal := self._stranger(known, belongs_to):  # another process's first start was quicker
                return refusal
        await identity.complete(pool, known, belongs_to)
        return FITS

    async def kafka_names(self) -> Mapping[str, str]:
        """The id of the Kafka cluster. KafkaError, OSError."""
        return {
            identity.KAFKA: f"cluster {await published.cluster_id(self._kafka)}",
            identity.TOPIC_PREFIX: repr(self._kafka.topic_prefix),
        }

    async def begin_recovery(self) -> Identity:
        """Refuses every start until ``adopt``. KafkaError, OSError, StoreUnavailable."""
        belongs_to = {**self._belongs_to, **await self.kafka_names()}
        return await identity.begin_recovery(self._store.pool, self._service, belongs_to)

    async def adopt(self, *, compared_to: identity.Offsets | None = None, new_epoch: bool = False) -> Identity:
        """Accepts the site, the partners and the topics as they are now, or were at ``compared_to``.

        KafkaError, OSError, StoreUnavailable.
        """
        belongs_to = {**self._belongs_to, **await self.kafka_names()}
        if compared_to is not None:
            return await identity.adopt(
                self._store.pool, self._service, belongs_to, compared_to=compared_to, new_epoch=new_epoch
            )
        async with published.opened(self._kafka, self.topics) as reader:
            return await identity.adopt(
                self._store.pool, self._service, belongs_to, compared_to=reader.following, new_epoch=new_epoch
            )

    def _stranger(self, known: Identity, now: Mapping[str, str]) -> Verdict | None:
        differences = known.differences(now)
        if known.service != self._service:
            differences.insert(0, f"it is {known.service}'s")
        if not differences:
            return None
        return Verdict(
            "elsewhere",
            f"this store belongs elsewhere: {'; '.join(differences)}. If it was moved on purpose: "
            f"{self.command} store adopt --yes",
        )

    def _set_back(self, known: Identity | None, unknown: Unknown) -> Verdict:
        what = "is empty" if known is None else "was set back"
        return Verdict(
            "set back",
            f"the store {what}: its topics hold events up to {unknown.newest_at:%Y-%m-%d %H:%M:%S} UTC that it does "
            f"not know ({unknown.count} of the newest). To read what it missed: {self.command} recover. "
            f"To leave those events aside, as another's: {self.command} store adopt --yes",
        )

    async def _newest(self, reader: TopicReader) -> list[Published]:
        return [] if self._revisions is None else await reader.newest(evidence.NEWEST)

    async def _newest_handled(self, reader: TopicReader) -> list[Published]:
        """The newest records before the offsets that the consumer's group has committed."""
        if self._consumes is None:
            return []
        offsets = {
            spot: offset
            for spot, offset in (await published.committed(self._kafka, self._consumes.consumer)).items()
            if offset <= reader.following.get(spot, 0)
        }
        starts = {spot: offset - evidence.NEWEST for spot, offset in offsets.items()}
        return [one async for lot in reader.read(starts, offsets) for one in lot]

    async def _unknown(
        self,
        known: Identity | None,
        reader: TopicReader,
        records: list[Published],
        handled: list[Published],
    ) -> Unknown | None:
        is_compared = _compared(known, reader)
        pool = self._store.pool
        found = []
        if self._revisions is not None:
            found.append(
                await evidence.unknown_of_producer(
                    pool, records, service=self._service, revisions=self._revisions, is_compared=is_compared
                )
            )
        if self._consumes is not None:
            found.append(
                await evidence.unknown_of_consumer(
                    pool, handled, consumer=self._consumes.consumer, is_compared=is_compared
                )
            )
        return max((one for one in found if one is not None), key=lambda one: one.newest_at, default=None)

    async def _look_for_losses(self, reader: TopicReader, records: list[Published]) -> None:
        if self._revisions is None:
            return
        lost = await evidence.lost_by_kafka(self._store.pool, reader, records)
        self._metrics.set(meters.KAFKA_BEHIND, len(lost))
        if lost:
            log.critical(
                "store.kafka-behind",
                partitions=[f"{topic}/{number}" for topic, number in lost],
                mend=f"{self.command} outbox resend: Kafka lacks events that were sent to it",
            )


def _compared(known: Identity | None, reader: TopicReader) -> Callable[[Published], bool]:
    """Whether a recovery or an adoption has compared a record. A topic that is shorter by now was made anew."""
    compared_to = {} if known is None else known.compared_to
    valid = {spot: offset for spot, offset in compared_to.items() if offset <= reader.following.get(spot, 0)}
    return lambda one: one.offset < valid.get(one.spot, 0)
