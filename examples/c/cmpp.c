#define _GNU_SOURCE 1 /* for -std=c11 */
#include "cmpp.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* -- MD5, RFC 1321 ------------------------------------------------------------------------------------------------- */

static uint32_t rotate(uint32_t value, unsigned bits)
{
    return value << bits | value >> (32 - bits);
}

static void md5_block(uint32_t state[4], const uint8_t *block)
{
    static const uint32_t sines[64] = {
        0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
        0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
        0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
        0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
        0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
        0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
        0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
        0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
    };
    static const uint8_t turns[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], words[16];
    unsigned i;

    for (i = 0; i < 16; i++)
        words[i] = block[4 * i] | (uint32_t)block[4 * i + 1] << 8 | (uint32_t)block[4 * i + 2] << 16
                   | (uint32_t)block[4 * i + 3] << 24;
    for (i = 0; i < 64; i++) {
        uint32_t mix, next;
        unsigned word;

        switch (i / 16) {
        case 0: mix = (b & c) | (~b & d); word = i; break;
        case 1: mix = (d & b) | (~d & c); word = (5 * i + 1) % 16; break;
        case 2: mix = b ^ c ^ d; word = (3 * i + 5) % 16; break;
        default: mix = c ^ (b | ~d); word = 7 * i % 16; break;
        }
        next = b + rotate(a + mix + sines[i] + words[word], turns[i / 16][i % 4]);
        a = d;
        d = c;
        c = b;
        b = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
}

void cmpp_md5(const void *data, size_t length, uint8_t digest[16])
{
    uint32_t state[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    const uint8_t *bytes = data;
    uint64_t bits = (uint64_t)length * 8;
    uint8_t tail[128] = {0};
    size_t whole = length / 64 * 64, rest = length - whole, padded = rest < 56 ? 64 : 128, i;

    for (i = 0; i < whole; i += 64)
        md5_block(state, bytes + i);
    if (rest > 0)
        memcpy(tail, bytes + whole, rest);
    tail[rest] = 0x80;
    for (i = 0; i < 8; i++)
        tail[padded - 8 + i] = (uint8_t)(bits >> 8 * i);
    for (i = 0; i < padded; i += 64)
        md5_block(state, tail + i);
    for (i = 0; i < 16; i++)
        digest[i] = (uint8_t)(state[i / 4] >> 8 * (i % 4));
}

/* -- integers and fixed fields ------------------------------------------------------------------------------------- */

static void put32(uint8_t *out, uint32_t value)
{
    out[0] = (uint8_t)(value >> 24);
    out[1] = (uint8_t)(value >> 16);
    out[2] = (uint8_t)(value >> 8);
    out[3] = (uint8_t)value;
}

static uint32_t get32(const uint8_t *in)
{
    return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | in[3];
}

/* An octet string of fixed size, filled up with NULs, as CMPP has them. */
static uint8_t *field(uint8_t *at, const char *text, size_t size)
{
    size_t length = strlen(text);

    memset(at, 0, size);
    memcpy(at, text, length < size ? length : size);
    return at + size;
}

static size_t header(uint8_t *out, size_t length, uint32_t command, uint32_t sequence)
{
    put32(out, (uint32_t)length);
    put32(out + 4, command);
    put32(out + 8, sequence);
    return length;
}

/* -- frames out of a stream ---------------------------------------------------------------------------------------- */

uint8_t *cmpp_room(cmpp_reader *reader, size_t *room)
{
    if (reader->start > 0) {
        memmove(reader->bytes, reader->bytes + reader->start, reader->end - reader->start);
        reader->end -= reader->start;
        reader->start = 0;
    }
    *room = sizeof reader->bytes - reader->end;
    return reader->bytes + reader->end;
}

void cmpp_arrived(cmpp_reader *reader, size_t count)
{
    reader->end += count;
}

int cmpp_next(cmpp_reader *reader, cmpp_frame *frame)
{
    const uint8_t *bytes = reader->bytes + reader->start;
    size_t have = reader->end - reader->start;
    uint32_t length;

    if (have < 4)
        return 0;
    length = get32(bytes);
    if (length < CMPP_HEADER || length > CMPP_FRAME_MAX)
        return -1;
    if (have < length)
        return 0;
    frame->length = length;
    frame->command = get32(bytes + 4);
    frame->sequence = get32(bytes + 8);
    frame->bytes = bytes;
    reader->start += length;
    return 1;
}

/* -- login --------------------------------------------------------------------------------------------------------- */

/* AuthenticatorSource = MD5(Source_Addr, nine NULs, secret, timestamp as ten digits) */
static void authenticator(const char *account, const char *secret, uint32_t timestamp, uint8_t digest[16])
{
    uint8_t text[128] = {0};
    size_t length = strnlen(account, 6), secret_length = strnlen(secret, 64);
    char digits[16];

    memcpy(text, account, length);
    length += 9;
    memcpy(text + length, secret, secret_length);
    length += secret_length;
    snprintf(digits, sizeof digits, "%010lu", (unsigned long)timestamp);
    memcpy(text + length, digits, 10);
    cmpp_md5(text, length + 10, digest);
}

uint32_t cmpp_timestamp(void)
{
    time_t now = time(NULL);
    struct tm local;

    localtime_r(&now, &local);
    return (uint32_t)((((local.tm_mon + 1) * 100 + local.tm_mday) * 100 + local.tm_hour) * 10000 + local.tm_min * 100
                      + local.tm_sec);
}

size_t cmpp_connect(uint8_t *out, uint32_t sequence, const char *account, const char *secret, uint32_t timestamp)
{
    uint8_t *at = field(out + CMPP_HEADER, account, 6);

    authenticator(account, secret, timestamp, at);
    at += 16;
    *at++ = CMPP_VERSION;
    put32(at, timestamp);
    return header(out, (size_t)(at + 4 - out), CMPP_CONNECT, sequence);
}

int cmpp_login_check(const cmpp_frame *connect, const char *account, const char *secret)
{
    const uint8_t *body = connect->bytes + CMPP_HEADER;
    uint8_t expected[16];

    if (connect->length != CMPP_HEADER + 27)
        return CMPP_LOGIN_STRUCTURE;
    if (strncmp((const char *)body, account, 6) != 0)
        return CMPP_LOGIN_ACCOUNT;
    authenticator(account, secret, get32(body + 23), expected);
    if (memcmp(body + 6, expected, 16) != 0)
        return CMPP_LOGIN_SECRET;
    return body[22] > 0x30 ? CMPP_LOGIN_VERSION : CMPP_LOGIN_OK;
}

size_t cmpp_connect_resp(uint8_t *out, uint32_t sequence, int status, const cmpp_frame *connect, const char *secret)
{
    uint8_t text[128] = {0}, *at = out + CMPP_HEADER;
    size_t secret_length = strnlen(secret, 64);

    /* AuthenticatorISMG = MD5(Status, AuthenticatorSource, secret). Real ISMGs disagree on the width of this Status:
     * a client that insists on it refuses real gateways. */
    *at++ = text[0] = (uint8_t)status;
    if (connect->length >= CMPP_HEADER + 22)
        memcpy(text + 1, connect->bytes + CMPP_HEADER + 6, 16);
    memcpy(text + 17, secret, secret_length);
    cmpp_md5(text, 17 + secret_length, at);
    at += 16;
    *at++ = CMPP_VERSION;
    return header(out, (size_t)(at - out), CMPP_CONNECT_RESP, sequence);
}

int cmpp_login_status(const cmpp_frame *connect_resp)
{
    if (connect_resp->length == CMPP_HEADER + 18)
        return connect_resp->bytes[CMPP_HEADER];
    if (connect_resp->length == CMPP_HEADER + 21) /* CMPP 3.0 widened Status to four octets */
        return connect_resp->bytes[CMPP_HEADER + 3];
    return -1;
}

/* -- the other messages -------------------------------------------------------------------------------------------- */

size_t cmpp_submit(uint8_t *out, uint32_t sequence, const char *account, const char *mobile, const char *text)
{
    size_t length = strnlen(text, 140);
    uint8_t *at = out + CMPP_HEADER;

    memset(at, 0, 8); /* Msg_Id: the ISMG's to give */
    at += 8;
    *at++ = 1; /* Pk_total */
    *at++ = 1; /* Pk_number */
    *at++ = 0; /* Registered_Delivery: no report wanted */
    *at++ = 0; /* Msg_level */
    at = field(at, "HBEAT", 10); /* Service_Id */
    *at++ = 2; /* Fee_UserType: the SP pays */
    at = field(at, "", 21); /* Fee_terminal_Id */
    *at++ = 0; /* TP_pId */
    *at++ = 0; /* TP_udhi */
    *at++ = 0; /* Msg_Fmt: ASCII */
    at = field(at, account, 6); /* Msg_src */
    at = field(at, "01", 2); /* FeeType: free */
    at = field(at, "000000", 6); /* FeeCode */
    at = field(at, "", 17); /* Valid_Time */
    at = field(at, "", 17); /* At_Time */
    at = field(at, "10658000", 21); /* Src_Id */
    *at++ = 1; /* DestUsr_tl */
    at = field(at, mobile, 21); /* Dest_terminal_Id */
    *at++ = (uint8_t)length; /* Msg_Length */
    memcpy(at, text, length);
    at = field(at + length, "", 8); /* Reserve */
    return header(out, (size_t)(at - out), CMPP_SUBMIT, sequence);
}

size_t cmpp_submit_resp(uint8_t *out, uint32_t sequence, uint64_t message_id, int result)
{
    put32(out + 12, (uint32_t)(message_id >> 32));
    put32(out + 16, (uint32_t)message_id);
    out[20] = (uint8_t)result;
    return header(out, 21, CMPP_SUBMIT_RESP, sequence);
}

size_t cmpp_plain(uint8_t *out, uint32_t command, uint32_t sequence)
{
    return header(out, CMPP_HEADER, command, sequence);
}

const char *cmpp_name(uint32_t command)
{
    switch (command) {
    case CMPP_CONNECT: return "CONNECT";
    case CMPP_CONNECT_RESP: return "CONNECT_RESP";
    case CMPP_TERMINATE: return "TERMINATE";
    case CMPP_TERMINATE_RESP: return "TERMINATE_RESP";
    case CMPP_SUBMIT: return "SUBMIT";
    case CMPP_SUBMIT_RESP: return "SUBMIT_RESP";
    case CMPP_ACTIVE_TEST: return "ACTIVE_TEST";
    case CMPP_ACTIVE_TEST_RESP: return "ACTIVE_TEST_RESP";
    default: return "UNKNOWN";
    }
}

/* -- log ----------------------------------------------------------------------------------------------------------- */

void cmpp_log(const char *who, const char *format, ...)
{
    struct timespec now;
    char text[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    clock_gettime(CLOCK_MONOTONIC, &now);
    /* One printf: lines of several threads do not mix. */
    printf("%ld.%03ld %s %s\n", (long)now.tv_sec, now.tv_nsec / 1000000, who, text);
}

void cmpp_trace(const char *who, const char *direction, const uint8_t *frames, size_t length)
{
    while (length >= CMPP_HEADER) {
        uint32_t size = get32(frames), command = get32(frames + 4), i;
        char hex[64] = "";
        size_t used = 0;

        if (size < CMPP_HEADER || size > length)
            return;
        if ((command & 0xff) == CMPP_ACTIVE_TEST)
            for (i = 0; i < size && i < 16; i++)
                used += (size_t)snprintf(hex + used, sizeof hex - used, i % 4 ? "%02x" : " %02x", frames[i]);
        cmpp_log(who, "%s %s seq=%lu%s", direction, cmpp_name(command), (unsigned long)get32(frames + 8), hex);
        frames += size;
        length -= size;
    }
}
