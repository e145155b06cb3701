/* A communicator backend whose two moves are made by a Python object: the way to any
 * transport that has a Python face, such as torch.distributed between hosts.
 *
 * The object is called with the interpreter lock held and has these methods; what they
 * raise is what the operation raises, and breaks the group. `timeout` is the deadline
 * in seconds of the whole call, infinite for none; `patience` the seconds after which
 * it says on stderr for whom it waits.
 *
 *   show(op: str, timeout: float, card: bytes, ahead: memoryview | None,
 *        sizes: list[int]) -> None
 *       Starts to send a block to every other rank and to get one of sizes[q] bytes
 *       from each rank q. The own one is `card`, then `ahead`, then anything.
 *   cards(op: str, timeout: float, patience: float) -> buffer
 *       Ends what the last `show` began: the others' blocks, one after the other in
 *       rank order; they stay as they are until the next `show`.
 *   stream(op: str, timeout: float, patience: float, send: memoryview | None,
 *          sizes: list[int], recv: list[memoryview | None]) -> None
 *       sizes[q] bytes come from rank q: fills recv[q], unless that is None; `send` are
 *       the own bytes, None where sizes of the own rank is 0. Called on every rank.
 *   put(op: str, timeout: float, patience: float, to: int,
 *       flows: list[memoryview]) -> None
 *       Sends each of the flows to one rank, in order. The memory is the caller's again
 *       at return. These four may be called by several threads at once, though only one
 *       for a rank and a direction.
 *   take(op: str, timeout: float, patience: float, source: int, nbytes: int,
 *        into: memoryview | None) -> None
 *       Waits for the next flow of that rank, of `nbytes` bytes, and fills `into`.
 *   refuse(source: int, text: str) -> None
 *       Tells a rank that a message of its was refused.
 *   refused(to: int) -> str | None
 *       What that rank has told so since the last call.
 *   abort(text: str) -> None
 *       Breaks the group for the other ranks, as far as the transport can tell them.
 *   close(ending: bool) -> None
 *       Leaves the group; `ending`: as this process is about to end.
 */
#ifndef PYACCEL_PY_RELAY_H
#define PYACCEL_PY_RELAY_H

#include "comm/comm.h"
#include "py/state.h"

/* A communicator over `transport`, to which it takes a new reference. NULL with an
 * exception. `name` must outlive it. */
pa_comm *
pyaccel_relay_create(PyObject *transport, const char *name, int rank, int size);

#endif
