/* What becomes known of a group's GPU work on a thread without Python, between two
 * operations: raised once, in the main thread. */
#ifndef PYACCEL_PY_ALARM_H
#define PYACCEL_PY_ALARM_H

#include "comm/device/devices.h"
#include "py/state.h"

typedef struct pyaccel_alarm pyaccel_alarm;

/* Has the devices of `comm` sound a new alarm when work on them has failed. NULL with
 * MemoryError. Goes to pyaccel_alarm_release, after the comm was destroyed. */
pyaccel_alarm *
pyaccel_alarm_set(pyaccel_state *state, pa_comm *comm);

/* Notes that the script knows of the failure: it is not raised any more. NULL is fine.
 */
void
pyaccel_alarm_hear(pyaccel_alarm *alarm);

/* Gives it up; NULL is fine. One that has sounded is still raised. */
void
pyaccel_alarm_release(pyaccel_alarm *alarm);

#endif
