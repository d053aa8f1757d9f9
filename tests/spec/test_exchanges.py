"""The HTTP API, exchange by exchange. Against the fake here; against real servers where a cluster is running anyway."""

import pytest

from tests.fakes.http_server import http_site
from tests.spec.exchange import Exchange, run
from tests.spec.exchanges import autopilot, catalog, coordinate, event, health, keyring, kv, members, others, query, txn

EXCHANGES = [*kv.EXCHANGES, *txn.EXCHANGES, *others.EXCHANGES]
"""These hold everywhere; those below speak of what the fake has in it."""
OF_THE_FAKE = [
    *autopilot.EXCHANGES,
    *catalog.EXCHANGES,
    *coordinate.EXCHANGES,
    *event.EXCHANGES,
    *health.EXCHANGES,
    *keyring.EXCHANGES,
    *members.EXCHANGES,
    *query.EXCHANGES,
]


@pytest.mark.parametrize("answers_later", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("exchange", EXCHANGES + OF_THE_FAKE, ids=lambda exchange: exchange.name)
async def test_exchange(exchange: Exchange, answers_later: bool) -> None:
    async with http_site() as site:
        site.delegate.answers_later = answers_later
        await run(exchange, "127.0.0.1", site.port)
