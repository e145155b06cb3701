/* What tests choose where torch would be asked; exported by the test build of the
 * extension. */
#ifndef TESTS_FAKES_TORCH_DEVICES_H
#define TESTS_FAKES_TORCH_DEVICES_H

#define FAKE_EXPORT __attribute__((visibility("default")))

/* Makes a stream the device's current one; at first that is the default stream. */
FAKE_EXPORT void
fake_torch_use(int device, void *stream);

/* Says on which device tensors without elements are, which have no memory to tell; -1,
 * as at first: on none. */
FAKE_EXPORT void
fake_torch_empties(int device);

#endif
