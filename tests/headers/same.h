/* What two declarations of one thing must share. Macros, because types are compared. */
#ifndef TESTS_HEADERS_SAME_H
#define TESTS_HEADERS_SAME_H

/* Two constants. */
#define SAME_VALUE(ours, theirs)                                                       \
    _Static_assert((long long)(ours) == (long long)(theirs), #ours " is not " #theirs)

/* Two types of which one stands for the other: an enum and an int, say. */
#define SAME_FORM(ours, theirs)                                                        \
    _Static_assert(sizeof(ours) == sizeof(theirs) &&                                   \
                       _Alignof(ours) == _Alignof(theirs),                             \
                   #ours " is not of the size of " #theirs)

/* The type of an expression. */
#define SAME_TYPE(expression, type)                                                    \
    _Static_assert(__builtin_types_compatible_p(__typeof__(expression), type),         \
                   "the type of " #expression " is not " #type)

/* The name of the symbol behind a function: headers may map one to a newer version. */
#define SAME_NAME(function, name)                                                      \
    _Static_assert(__builtin_strcmp(SAME_TEXT(function), name) == 0,                   \
                   "the header calls " name " " SAME_TEXT(function))

/* A name as text, after macros. */
#define SAME_TEXT(name) SAME_TEXT_OF(name)
#define SAME_TEXT_OF(name) #name

#endif
