/*
 * The operations of a plan as the executor reads them: what pyruntime/execute/encoding.py does, which says what the
 * bytes mean.  A third of all bytecode that planning a container takes would be that loop.
 */
#include "launcher.h"

#include <stdint.h>
#include <string.h>

const char encode_operations_text[] =
    "encode_operations(operations, known, learn, first step) -> (operations, data); raises ValueError(step) for a NUL";

struct buffer {
    char *start;
    size_t used, room;
};

static int append(struct buffer *buffer, const void *data, size_t size)
{
    if (size > buffer->room - buffer->used) {
        size_t room = (buffer->used + size) * 2;
        char *larger = PyMem_Realloc(buffer->start, room);
        if (larger == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        buffer->start = larger;
        buffer->room = room;
    }
    memcpy(buffer->start + buffer->used, data, size);
    buffer->used += size;
    return 0;
}

static int append_word(struct buffer *buffer, uint64_t word)
{
    unsigned char bytes[8];
    for (int index = 0; index < 8; index++)
        bytes[index] = (unsigned char)(word >> 8 * index);
    return append(buffer, bytes, sizeof bytes);
}

static int append_text(struct buffer *buffer, PyObject *text, size_t step)
{
    PyObject *encoded = NULL;
    const char *bytes;
    Py_ssize_t size;
    if (PyUnicode_IS_COMPACT_ASCII(text)) {
        bytes = PyUnicode_DATA(text);
        size = PyUnicode_GET_LENGTH(text);
    } else {
        encoded = PyUnicode_AsEncodedString(text, "utf-8", "surrogateescape");
        if (encoded == NULL)
            return -1;
        bytes = PyBytes_AS_STRING(encoded);
        size = PyBytes_GET_SIZE(encoded);
    }
    int result = -1;
    if (memchr(bytes, 0, (size_t)size) == NULL) {
        result = append(buffer, bytes, (size_t)size);
    } else {
        PyObject *number = PyLong_FromSize_t(step);
        PyErr_SetObject(PyExc_ValueError, number);
        Py_XDECREF(number);
    }
    Py_XDECREF(encoded);
    return result;
}

static int append_block(struct buffer *data, PyObject *value, size_t step)
{
    if (PyUnicode_Check(value))
        return append_text(data, value, step);
    if (PyBytes_Check(value))
        return append(data, PyBytes_AS_STRING(value), (size_t)PyBytes_GET_SIZE(value));
    if (!PyTuple_Check(value)) {
        PyErr_Format(PyExc_TypeError, "a plan cannot hold %R", value);
        return -1;
    }
    for (Py_ssize_t index = 0; index < PyTuple_GET_SIZE(value); index++) {
        PyObject *each = PyTuple_GET_ITEM(value, index);
        if (!PyUnicode_Check(each)) {
            PyErr_Format(PyExc_TypeError, "a plan cannot hold %R", each);
            return -1;
        }
        if (append_text(data, each, step) != 0 || append(data, "", 1) != 0)
            return -1;
    }
    return 0;
}

static int append_argument(struct buffer *words, struct buffer *data, PyObject *value, size_t step)
{
    if (PyLong_Check(value)) {
        uint64_t word = PyLong_AsUnsignedLongLongMask(value);
        return word == UINT64_MAX && PyErr_Occurred() ? -1 : append_word(words, word);
    }
    size_t position = data->used;
    if (append_block(data, value, step) != 0)
        return -1;
    return append_word(words, (uint64_t)position << 32 | (data->used - position)) != 0 ? -1 : append(data, "", 1);
}

/* The names of an operation's arguments: a new reference. */
static PyObject *names_of(PyObject *class, PyObject *known, PyObject *learn)
{
    PyObject *names = PyDict_GetItemWithError(known, class);
    if (names != NULL)
        return Py_NewRef(names);
    return PyErr_Occurred() ? NULL : PyObject_CallOneArg(learn, class);
}

static int append_operation(struct buffer *words, struct buffer *data, PyObject *operation, PyObject *names, size_t step)
{
    /* Interned, or the interpreter would forget what it has looked up for another name. */
    static PyObject *name_of_code;
    if (name_of_code == NULL && (name_of_code = PyUnicode_InternFromString("code")) == NULL)
        return -1;
    PyObject *code = PyObject_GetAttr((PyObject *)Py_TYPE(operation), name_of_code);
    uint64_t number = code ? PyLong_AsUnsignedLongLongMask(code) : 0;
    Py_XDECREF(code);
    if (code == NULL || !PyTuple_Check(names))
        return -1;
    if (append_word(words, number | (uint64_t)PyTuple_GET_SIZE(names) << 16 | (uint64_t)step << 32) != 0)
        return -1;
    for (Py_ssize_t index = 0; index < PyTuple_GET_SIZE(names); index++) {
        PyObject *value = PyObject_GetAttr(operation, PyTuple_GET_ITEM(names, index));
        int result = value ? append_argument(words, data, value, step) : -1;
        Py_XDECREF(value);
        if (result != 0)
            return -1;
    }
    return 0;
}

PyObject *encode_operations(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t count)
{
    size_t first = count == 4 ? PyLong_AsSize_t(arguments[3]) : 0;
    if (count != 4 || (first == (size_t)-1 && PyErr_Occurred()) || !PyTuple_Check(arguments[0]) || !PyDict_Check(arguments[1])) {
        PyErr_SetString(PyExc_TypeError, encode_operations_text);
        return NULL;
    }
    struct buffer words = {0}, data = {0};
    PyObject *result = NULL;
    Py_ssize_t index = 0;
    for (; index < PyTuple_GET_SIZE(arguments[0]); index++) {
        PyObject *operation = PyTuple_GET_ITEM(arguments[0], index);
        PyObject *names = names_of((PyObject *)Py_TYPE(operation), arguments[1], arguments[2]);
        int done = names ? append_operation(&words, &data, operation, names, first + (size_t)index) : -1;
        Py_XDECREF(names);
        if (done != 0)
            break;
    }
    if (index == PyTuple_GET_SIZE(arguments[0]))
        result = Py_BuildValue("(y#y#)", words.start ? words.start : "", (Py_ssize_t)words.used,
                               data.start ? data.start : "", (Py_ssize_t)data.used);
    PyMem_Free(words.start);
    PyMem_Free(data.start);
    return result;
}
