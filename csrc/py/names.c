/* Interned names: see the header. */
#include "py/names.h"

int
pyaccel_names_setup(PyObject *module)
{
    pyaccel_state *state = pyaccel_state_get(module);
    const struct {
        PyObject **slot;
        const char *text;
    } names[] = {
        {&state->str_as_subclass, "as_subclass"},
        {&state->str_buffers, "buffers"},
        {&state->str_contiguous, "contiguous"},
        {&state->str_copy_, "copy_"},
        {&state->str_cpu, "cpu"},
        {&state->str_data_ptr, "data_ptr"},
        {&state->str_detach, "detach"},
        {&state->str_device, "device"},
        {&state->str_dtype, "dtype"},
        {&state->str_fields, "_fields"},
        {&state->str_fill_, "fill_"},
        {&state->str_index, "index"},
        {&state->str_is_cpu, "is_cpu"},
        {&state->str_is_conj, "is_conj"},
        {&state->str_is_neg, "is_neg"},
        {&state->str_is_quantized, "is_quantized"},
        {&state->str_is_nested, "is_nested"},
        {&state->str_items, "items"},
        {&state->str_layout, "layout"},
        {&state->str_dunder_name, "__name__"},
        {&state->str_name, "name"},
        {&state->str_narrow, "narrow"},
        {&state->str_new_empty, "new_empty"},
        {&state->str_num_processes, "num_processes"},
        {&state->str_process_index, "process_index"},
        {&state->str_resolve_conj, "resolve_conj"},
        {&state->str_resolve_neg, "resolve_neg"},
        {&state->str_shape, "shape"},
        {&state->str_stride, "stride"},
        {&state->str_to, "to"},
        {&state->str_type, "type"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        *names[i].slot = PyUnicode_InternFromString(names[i].text);
        if (*names[i].slot == NULL) {
            return -1;
        }
    }
    /* What collections.abc shows; that name would import all of collections, which
     * takes longer than all else here, while every interpreter starts with this one. */
    PyObject *abc = PyImport_ImportModule("_collections_abc");
    if (abc == NULL) {
        return -1;
    }
    state->Mapping = PyObject_GetAttrString(abc, "Mapping");
    state->Sequence = state->Mapping ? PyObject_GetAttrString(abc, "Sequence") : NULL;
    Py_DECREF(abc);
    return state->Sequence != NULL ? 0 : -1;
}
