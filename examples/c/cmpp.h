/* cmpp.h - the few CMPP 2.0 messages that the example gateway and the example ISMG exchange.
 *
 * Not a CMPP library: no DELIVER, no QUERY, no long SMS. What it has is enough for two programs that log in, submit,
 * answer and leave as real ones do. All integers on the wire are big-endian.
 */
#ifndef CMPP_H
#define CMPP_H

#include <stddef.h>
#include <stdint.h>

#define CMPP_CONNECT          0x00000001u
#define CMPP_CONNECT_RESP     0x80000001u
#define CMPP_TERMINATE        0x00000002u
#define CMPP_TERMINATE_RESP   0x80000002u
#define CMPP_SUBMIT           0x00000004u
#define CMPP_SUBMIT_RESP      0x80000004u
#define CMPP_ACTIVE_TEST      0x00000008u
#define CMPP_ACTIVE_TEST_RESP 0x80000008u

#define CMPP_HEADER    12u
#define CMPP_FRAME_MAX 4096u /* longer: the stream is not CMPP any more */
#define CMPP_VERSION   0x20u

/* CONNECT_RESP: what the ISMG thinks of a login */
#define CMPP_LOGIN_OK          0
#define CMPP_LOGIN_STRUCTURE   1
#define CMPP_LOGIN_ACCOUNT     2
#define CMPP_LOGIN_SECRET      3
#define CMPP_LOGIN_VERSION     4

/* -- frames out of a stream ---------------------------------------------------------------------------------------- */

typedef struct cmpp_frame {
    uint32_t length; /* of the whole frame, header included */
    uint32_t command;
    uint32_t sequence;
    const uint8_t *bytes; /* the header first; valid until the next cmpp_room */
} cmpp_frame;

typedef struct cmpp_reader {
    size_t start, end;
    uint8_t bytes[2 * CMPP_FRAME_MAX];
} cmpp_reader;

/* Where the next bytes of the stream go; there is always room for a whole frame. */
uint8_t *cmpp_room(cmpp_reader *reader, size_t *room);
/* `count` bytes were put there. */
void cmpp_arrived(cmpp_reader *reader, size_t count);
/* 1: *frame is the next one; 0: it is not complete yet; -1: not a frame, the stream cannot be used any more. */
int cmpp_next(cmpp_reader *reader, cmpp_frame *frame);

/* -- frames to write; each returns its length ---------------------------------------------------------------------- */

size_t cmpp_connect(uint8_t *out, uint32_t sequence, const char *account, const char *secret, uint32_t timestamp);
size_t cmpp_connect_resp(uint8_t *out, uint32_t sequence, int status, const cmpp_frame *connect, const char *secret);
size_t cmpp_submit(uint8_t *out, uint32_t sequence, const char *account, const char *mobile, const char *text);
size_t cmpp_submit_resp(uint8_t *out, uint32_t sequence, uint64_t message_id, int result);
size_t cmpp_plain(uint8_t *out, uint32_t command, uint32_t sequence); /* TERMINATE, TERMINATE_RESP: no body */

/* -- what they say ------------------------------------------------------------------------------------------------- */

uint32_t cmpp_timestamp(void); /* local time as MMDDHHMMSS: ten digits that fit a u32 */
int cmpp_login_check(const cmpp_frame *connect, const char *account, const char *secret); /* CMPP_LOGIN_* */
int cmpp_login_status(const cmpp_frame *connect_resp); /* CMPP_LOGIN_*, or -1: malformed */
const char *cmpp_name(uint32_t command);

/* -- log: "<seconds of CLOCK_MONOTONIC> <who> <text>", one line a call, from any thread ---------------------------- */

void cmpp_log(const char *who, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* One line a frame; link tests are shown byte by byte. */
void cmpp_trace(const char *who, const char *direction, const uint8_t *frames, size_t length);

void cmpp_md5(const void *data, size_t length, uint8_t digest[16]); /* RFC 1321 */

#endif
