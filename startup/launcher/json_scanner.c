/*
 * JSON for interpreters whose _json is a shared library, which a static program cannot load.
 *
 * The same language as json.loads() with strict=True, less the constants NaN and Infinity.  What is wrong
 * with a refused document is for the json module to say: here an error is ValueError and nothing more.
 */
#include "launcher.h"

struct scan {
    PyObject *text; /* a str */
    int kind;
    const void *data;
    Py_ssize_t at;
    Py_ssize_t end;
};

static PyObject *scan_value(struct scan *scan);

static Py_UCS4 peek(const struct scan *scan)
{
    return scan->at < scan->end ? PyUnicode_READ(scan->kind, scan->data, scan->at) : 0;
}

static PyObject *refuse(void)
{
    PyErr_SetString(PyExc_ValueError, "not JSON");
    return NULL;
}

static void skip_space(struct scan *scan)
{
    for (;;) {
        Py_UCS4 each = peek(scan);
        if (each != ' ' && each != '\n' && each != '\t' && each != '\r')
            return;
        scan->at++;
    }
}

static int take(struct scan *scan, Py_UCS4 wanted)
{
    if (scan->at >= scan->end || peek(scan) != wanted)
        return 0;
    scan->at++;
    return 1;
}

static PyObject *scan_word(struct scan *scan, const char *word, PyObject *value)
{
    for (; *word != '\0'; word++)
        if (!take(scan, (Py_UCS4)*word))
            return refuse();
    return Py_NewRef(value);
}

static Py_ssize_t skip_digits(struct scan *scan)
{
    Py_ssize_t before = scan->at;
    while (peek(scan) >= '0' && peek(scan) <= '9')
        scan->at++;
    return scan->at - before;
}

/* A number that is not followed by a whole fraction or exponent ends before it, as in the json module. */
static PyObject *scan_number(struct scan *scan)
{
    Py_ssize_t start = scan->at;
    int is_float = 0;
    take(scan, '-');
    if (!take(scan, '0') && skip_digits(scan) == 0)
        return refuse();
    Py_ssize_t whole = scan->at;
    if (take(scan, '.')) {
        if (skip_digits(scan) > 0) {
            whole = scan->at;
            is_float = 1;
        } else {
            scan->at = whole;
        }
    }
    if (take(scan, 'e') || take(scan, 'E')) {
        if (!take(scan, '+'))
            take(scan, '-');
        if (skip_digits(scan) > 0) {
            whole = scan->at;
            is_float = 1;
        }
    }
    scan->at = whole;
    PyObject *digits = PyUnicode_Substring(scan->text, start, whole);
    if (digits == NULL)
        return NULL;
    PyObject *number = is_float ? PyFloat_FromString(digits) : PyLong_FromUnicodeObject(digits, 10);
    Py_DECREF(digits);
    return number;
}

/* Four hexadecimal digits, or -1. */
static int scan_hex(struct scan *scan)
{
    int value = 0;
    for (int digit = 0; digit < 4; digit++) {
        Py_UCS4 each = peek(scan);
        if (each >= '0' && each <= '9')
            value = value * 16 + (int)(each - '0');
        else if (each >= 'a' && each <= 'f')
            value = value * 16 + (int)(each - 'a') + 10;
        else if (each >= 'A' && each <= 'F')
            value = value * 16 + (int)(each - 'A') + 10;
        else
            return -1;
        scan->at++;
    }
    return value;
}

/* The character that an escape stands for, or -1; two escapes may make one character together. */
static long scan_escape(struct scan *scan)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    Py_UCS4 letter = peek(scan);
    scan->at++;
    if (letter != 'u') {
        const char *found = letter != 0 && letter < 128 ? strchr(letters, (int)letter) : NULL;
        return found ? meanings[found - letters] : -1;
    }
    int high = scan_hex(scan);
    if (high < 0xd800 || high > 0xdbff)
        return high;
    Py_ssize_t after = scan->at;
    if (take(scan, '\\') && take(scan, 'u')) {
        int low = scan_hex(scan);
        if (low >= 0xdc00 && low <= 0xdfff)
            return 0x10000 + ((long)(high - 0xd800) << 10) + (low - 0xdc00);
        /* Two escapes that make no pair: two characters; a bad second one is met again. */
    }
    scan->at = after;
    return high;
}

/* A string with escapes: at its first backslash; the characters before it begin at `start`. */
static PyObject *scan_escaped(struct scan *scan, Py_ssize_t start)
{
    _PyUnicodeWriter writer;
    _PyUnicodeWriter_Init(&writer);
    writer.overallocate = 1;
    if (_PyUnicodeWriter_WriteSubstring(&writer, scan->text, start, scan->at) < 0)
        goto failed;
    while (scan->at < scan->end) {
        Py_UCS4 each = peek(scan);
        scan->at++;
        if (each == '"')
            return _PyUnicodeWriter_Finish(&writer);
        if (each < 0x20)
            break;
        long character = each == '\\' ? scan_escape(scan) : (long)each;
        if (character < 0)
            break;
        if (_PyUnicodeWriter_WriteChar(&writer, (Py_UCS4)character) < 0)
            goto failed;
    }
    refuse();
failed:
    _PyUnicodeWriter_Dealloc(&writer);
    return NULL;
}

static PyObject *scan_string(struct scan *scan)
{
    Py_ssize_t start = ++scan->at;
    for (; scan->at < scan->end; scan->at++) {
        Py_UCS4 each = peek(scan);
        if (each == '"')
            return PyUnicode_Substring(scan->text, start, scan->at++);
        if (each == '\\')
            return scan_escaped(scan, start);
        if (each < 0x20)
            break;
    }
    return refuse();
}

static PyObject *scan_list(struct scan *scan)
{
    PyObject *list = PyList_New(0);
    scan->at++;
    skip_space(scan);
    if (list == NULL || take(scan, ']'))
        return list;
    for (;;) {
        PyObject *value = scan_value(scan);
        if (value == NULL || PyList_Append(list, value) < 0) {
            Py_XDECREF(value);
            break;
        }
        Py_DECREF(value);
        skip_space(scan);
        if (take(scan, ']'))
            return list;
        if (!take(scan, ',')) {
            refuse();
            break;
        }
        skip_space(scan);
    }
    Py_DECREF(list);
    return NULL;
}

static int scan_member(struct scan *scan, PyObject *object)
{
    if (peek(scan) != '"') {
        refuse();
        return -1;
    }
    PyObject *key = scan_string(scan);
    if (key == NULL)
        return -1;
    int result = -1;
    skip_space(scan);
    if (take(scan, ':')) {
        skip_space(scan);
        PyObject *value = scan_value(scan);
        if (value != NULL)
            result = PyDict_SetItem(object, key, value);
        Py_XDECREF(value);
    } else {
        refuse();
    }
    Py_DECREF(key);
    return result;
}

static PyObject *scan_object(struct scan *scan)
{
    PyObject *object = PyDict_New();
    scan->at++;
    skip_space(scan);
    if (object == NULL || take(scan, '}'))
        return object;
    while (scan_member(scan, object) == 0) {
        skip_space(scan);
        if (take(scan, '}'))
            return object;
        if (!take(scan, ',')) {
            refuse();
            break;
        }
        skip_space(scan);
    }
    Py_DECREF(object);
    return NULL;
}

static PyObject *scan_nested(struct scan *scan, Py_UCS4 first)
{
    if (Py_EnterRecursiveCall(" while reading JSON"))
        return NULL;
    PyObject *value = first == '{' ? scan_object(scan) : scan_list(scan);
    Py_LeaveRecursiveCall();
    return value;
}

static PyObject *scan_value(struct scan *scan)
{
    Py_UCS4 first = peek(scan);
    switch (first) {
    case '"':
        return scan_string(scan);
    case '{':
    case '[':
        return scan_nested(scan, first);
    case 'n':
        return scan_word(scan, "null", Py_None);
    case 't':
        return scan_word(scan, "true", Py_True);
    case 'f':
        return scan_word(scan, "false", Py_False);
    default:
        return scan_number(scan);
    }
}

const char json_scan_text[] = "json_scan(text, start) -> (value, end); raises ValueError or RecursionError";

PyObject *json_scan(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 2 || !PyUnicode_Check(arguments[0])) {
        PyErr_SetString(PyExc_TypeError, json_scan_text);
        return NULL;
    }
    struct scan scan = {
        .text = arguments[0],
        .kind = PyUnicode_KIND(arguments[0]),
        .data = PyUnicode_DATA(arguments[0]),
        .at = PyLong_AsSsize_t(arguments[1]),
        .end = PyUnicode_GET_LENGTH(arguments[0]),
    };
    if (scan.at < 0)
        return PyErr_Occurred() ? NULL : refuse();
    PyObject *value = scan_value(&scan);
    return value ? Py_BuildValue("(Nn)", value, scan.at) : NULL;
}

const char json_quote_text[] = "json_quote(text) -> the JSON string for it, in ASCII";

/* Writes one character; `room` has at least 12 bytes. */
static char *quote_character(char *room, Py_UCS4 character)
{
    static const char digits[] = "0123456789abcdef";
    static const char plain[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *found = character != 0 && character < 128 ? strchr(plain, (int)character) : NULL;
    if (found != NULL) {
        *room++ = '\\';
        *room++ = letters[found - plain];
        return room;
    }
    if (character >= ' ' && character < 127) {
        *room++ = (char)character;
        return room;
    }
    if (character >= 0x10000) {
        character -= 0x10000;
        room = quote_character(room, 0xd800 + (character >> 10));
        character = 0xdc00 + (character & 0x3ff);
    }
    *room++ = '\\';
    *room++ = 'u';
    for (int shift = 12; shift >= 0; shift -= 4)
        *room++ = digits[character >> shift & 15];
    return room;
}

PyObject *json_quote(PyObject *Py_UNUSED(module), PyObject *text)
{
    if (!PyUnicode_Check(text)) {
        PyErr_SetString(PyExc_TypeError, json_quote_text);
        return NULL;
    }
    Py_ssize_t length = PyUnicode_GET_LENGTH(text);
    char *buffer = length > (PY_SSIZE_T_MAX - 2) / 12 ? NULL : PyMem_Malloc((size_t)length * 12 + 2);
    if (buffer == NULL)
        return PyErr_NoMemory();
    char *end = buffer;
    *end++ = '"';
    for (Py_ssize_t index = 0; index < length; index++)
        end = quote_character(end, PyUnicode_READ_CHAR(text, index));
    *end++ = '"';
    PyObject *quoted = PyUnicode_FromStringAndSize(buffer, end - buffer);
    PyMem_Free(buffer);
    return quoted;
}
