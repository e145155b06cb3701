/* Starting programs: see the header. */
#include "py/spawn.h"

#include "py/error.h"
#include "sys/spawn.h"

/* The bytes of a list as C has them: pointers into its items, NULL at the end; NULL
 * with an exception. Goes to PyMem_Free, and the list must stay as it is until then. */
static char **
words_of(PyObject *list)
{
    Py_ssize_t count = PyList_Size(list);
    char **words = PyMem_Malloc(((size_t)count + 1) * sizeof *words);
    if (words == NULL) {
        return (char **)PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        /* A null byte inside, which C would take for the end, is a ValueError. */
        PyObject *item = PyList_GetItem(list, i); // borrowed
        if (item == NULL || PyBytes_AsStringAndSize(item, &words[i], NULL) < 0) {
            PyMem_Free(words);
            return NULL;
        }
    }
    words[count] = NULL;
    return words;
}

static PyObject *
start(PyObject *module, pa_spawn *spawn, PyObject *arguments, PyObject *environment)
{
    if (PyList_Size(arguments) < 1) {
        PyErr_SetString(PyExc_ValueError, "spawn: arguments must name the program");
        return NULL;
    }
    char **words = words_of(arguments);
    char **variables = words != NULL ? words_of(environment) : NULL;
    if (variables == NULL) {
        PyMem_Free(words);
        return NULL;
    }
    spawn->arguments = words;
    spawn->environment = variables;
    pid_t pid = 0;
    pa_error error = PA_ERROR_INIT;
    pa_status status;
    Py_BEGIN_ALLOW_THREADS status = pa_spawn_start(spawn, &pid, &error);
    Py_END_ALLOW_THREADS PyMem_Free(words);
    PyMem_Free(variables);
    if (status != PA_OK) {
        return pyaccel_error_raise(pyaccel_state_get(module), status, &error);
    }
    return PyLong_FromLong(pid);
}

static PyObject *
spawn(PyObject *module, PyObject *arguments, PyObject *named)
{
    static char *spawn_keywords[] = {"arguments", "environment", "stdio",
                                     "pid_entry", "keep",        "lifeline",
                                     "terminal",  NULL};
    PyObject *words = NULL;
    PyObject *variables = NULL;
    pa_spawn wanted = {.keep = -1, .lifeline = -1};
    int terminal = 0;
    if (!PyArg_ParseTupleAndKeywords(arguments, named, "O!O!(iii)|$yiip:spawn",
                                     spawn_keywords, &PyList_Type, &words, &PyList_Type,
                                     &variables, &wanted.stdio[0], &wanted.stdio[1],
                                     &wanted.stdio[2], &wanted.pid_entry, &wanted.keep,
                                     &wanted.lifeline, &terminal)) {
        return NULL;
    }
    if (wanted.pid_entry != NULL && wanted.pid_entry[0] == '\0') {
        wanted.pid_entry = NULL;
    }
    wanted.terminal = terminal != 0;
    return start(module, &wanted, words, variables);
}

static PyMethodDef spawn_methods[] = {
    {"spawn", (PyCFunction)(void (*)(void))spawn, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("spawn($module, arguments, environment, stdio, *, pid_entry=b'',\n"
               "      keep=-1, lifeline=-1, terminal=False)\n--\n\n"
               "Starts a program as the leader of a process group; its process id.")},
    {NULL, NULL, 0, NULL},
};

int
pyaccel_spawn_setup(PyObject *module)
{
    return PyModule_AddFunctions(module, spawn_methods);
}
