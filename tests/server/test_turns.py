"""Many bodies that come at once are read a few at a time."""

from __future__ import annotations

import asyncio

from saccade.server.protocol import READERS, Turns


class Connection(asyncio.Transport):
    """Notes in which turn of the loop its reading goes on."""

    def __init__(self) -> None:
        self.closing = False
        self.resumed: list[int] = []

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None:
        self.resumed.append(TURN[0])


TURN = [0]


async def turns(count: int) -> None:
    for _ in range(count):
        TURN[0] += 1
        await asyncio.sleep(0)


def test_a_few_read_in_one_turn_and_each_has_its_own() -> None:
    async def main() -> None:
        TURN[0] = 0
        loop = asyncio.get_running_loop()
        connections = [Connection() for _ in range(3 * READERS)]
        flows = [Turns(connection, loop) for connection in connections]
        for flow in flows:
            flow.pause_reading()
            flow.resume_reading()
            flow.resume_reading()  # nothing more is to be done
        await turns(5)
        assert [connection.resumed for connection in connections] == [[1 + i // READERS] for i in range(3 * READERS)]

    asyncio.run(main())


def test_who_pauses_again_or_leaves_is_passed_over() -> None:
    async def main() -> None:
        TURN[0] = 0
        loop = asyncio.get_running_loop()
        paused, gone, there = connections = [Connection() for _ in range(3)]
        flows = [Turns(connection, loop) for connection in connections]
        for flow in flows:
            flow.pause_reading()
            flow.resume_reading()
        flows[0].pause_reading()
        gone.closing = True
        await turns(3)
        assert [paused.resumed, gone.resumed, there.resumed] == [[], [], [1]]
        flows[0].resume_reading()
        await turns(2)
        assert paused.resumed == [4]

    asyncio.run(main())
