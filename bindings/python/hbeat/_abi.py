"""hbeat.h for ctypes: structs, constants, and what each function takes and gives. tests/python compares it with the header."""
from ctypes import (
    POINTER, Structure, c_char, c_char_p, c_int32, c_size_t, c_uint32, c_uint64, c_void_p,
)
from typing import Any, Dict, List, Tuple

VERSION = (0, 1)  # of the header: major, minor
FOREVER = 0xFFFFFFFF
UNKNOWN = 0xFFFFFFFF
NAME_MAX = 64
FRAME_MAX = 2048
APP_STATE_MAX = 1024
EVENTS_DEFAULT = 524094
EVENTS_ALL = 524286
ENDPOINT_MAX = 128
CAUSES_MAX = 16
BELOW_MAX = 32


class CPolicy(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("interval_ms", c_uint32),
        ("timeout_ms", c_uint32),
        ("tries", c_uint32),
        ("strategy", c_uint32),
        ("idle_on", c_uint32),
        ("proof", c_uint32),
        ("answer_expected", c_uint32),
        ("answer", c_uint32),
        ("resend", c_uint32),
        ("hold_time_ms", c_uint32),
        ("jitter_percent", c_uint32),
        ("partial_ms", c_uint32),
        ("late_reader_limit_ms", c_uint32),
        ("up_after", c_uint32),
        ("observe_only", c_uint32),
        ("least_ms", c_uint32),
        ("strikes", c_uint32),
        ("progress_ms", c_uint32),
        ("on_no_progress", c_uint32),
    ]


class CEvent(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("type", c_uint32),
        ("link", c_uint64),
        ("link_data", c_void_p),
        ("at_ns", c_uint64),
        ("state", c_uint32),
        ("cause", c_uint32),
        ("tries", c_uint32),
        ("tries_max", c_uint32),
        ("sequence", c_uint32),
        ("count", c_uint32),
        ("detail", c_uint32),
        ("rtt_us", c_uint32),
        ("last_received_ms", c_uint32),
        ("last_sent_ms", c_uint32),
        ("unread_bytes", c_int32),
        ("send_queue_bytes", c_int32),
        ("name", c_char * NAME_MAX),
        ("attempt", c_uint32),
        ("next_ms", c_uint32),
        ("listener", c_uint64),
        ("tcp_state", c_uint32),
        ("tcp_unacked", c_uint32),
        ("tcp_retransmits", c_uint32),
        ("tcp_total_retransmits", c_uint32),
        ("tcp_rtt_us", c_uint32),
        ("tcp_rtt_var_us", c_uint32),
        ("tcp_last_ack_ms", c_uint32),
        ("tcp_last_data_received_ms", c_uint32),
    ]


class CEngineOptions(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("run", c_uint32),
        ("clock", c_uint32),
        ("threads", c_uint32),
        ("tick_ms", c_uint32),
        ("events", c_uint32),
        ("max_links", c_uint32),
        ("open_queue", c_uint32),
        ("on_panic", c_uint32),
        ("nice", c_int32),
        ("cpus", c_uint64),
        ("start_ns", c_uint64),
        ("thread_name", c_char_p),
        ("engine_data", c_void_p),
        # Callbacks: never set, Python only pulls.
        ("on_event", c_void_p),
        ("on_send", c_void_p),
        ("release", c_void_p),
        ("on_log", c_void_p),
    ]


class CHealth(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("phase", c_uint32),
        ("threads", c_uint32),
        ("links", c_uint32),
        ("turn_age_ms", c_uint32),
        ("on_event_ms", c_uint32),
        ("on_send_ms", c_uint32),
        ("waiting", c_uint32),
        ("doubtful_times", c_uint32),
    ]


class CKey(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("id", c_uint32),
        ("bytes", c_void_p),
        ("length", c_size_t),
    ]


class CLinkOptions(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("fd", c_int32),
        ("name", c_char_p),
        ("protocol", c_char_p),
        ("link_data", c_void_p),
        ("start_paused", c_uint32),
        ("events", c_uint32),
        ("backoff", c_void_p),  # left NULL: hbeat's own
        ("reconnect", c_uint32),
        ("attempts", c_uint32),
        ("keys", c_void_p),
        ("key_count", c_size_t),
    ]


class CInfo(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("state", c_uint32),
        ("cause", c_uint32),
        ("detail", c_uint32),
        ("tries", c_uint32),
        ("tries_max", c_uint32),
        ("sequence", c_uint32),
        ("protocol", c_uint32),
        ("link", c_uint64),
        ("link_data", c_void_p),
        ("last_received_ms", c_uint32),
        ("last_sent_ms", c_uint32),
        ("in_state_ms", c_uint32),
        ("rtt_us", c_uint32),
        ("rtt_min_us", c_uint32),
        ("rtt_max_us", c_uint32),
        ("unread_bytes", c_int32),
        ("send_queue_bytes", c_int32),
        ("beats_sent", c_uint64),
        ("answers_received", c_uint64),
        ("beats_received", c_uint64),
        ("answers_sent", c_uint64),
        ("answers_late", c_uint64),
        ("answers_unmatched", c_uint64),
        ("answers_dropped", c_uint64),
        ("misses", c_uint64),
        ("messages_received", c_uint64),
        ("bytes_received", c_uint64),
        ("name", c_char * NAME_MAX),
        ("messages_sent", c_uint64),
        ("bytes_sent", c_uint64),
        ("would_be_downs", c_uint64),
        ("rtt_count", c_uint64),
        ("rtt_sum_us", c_uint64),
        ("attempt", c_uint32),
        ("next_ms", c_uint32),
        ("peer_states_left_out", c_uint64),
        ("strikes", c_uint64),
        ("listener", c_uint64),
        ("agreed_interval_ms", c_uint32),
        ("agreed_peer_interval_ms", c_uint32),
        ("agreed_hold_ms", c_uint32),
        ("agreed_peer_hold_ms", c_uint32),
        ("frames_rejected", c_uint64),
        ("frames_unauthenticated", c_uint64),
    ]


class CListenerOptions(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("max_links", c_uint32),
        ("name", c_char_p),
        ("max_per_source", c_uint32),
        ("max_greeting", c_uint32),
        ("events", c_uint32),
        ("reserved", c_uint32),
        ("keys", c_void_p),
        ("key_count", c_size_t),
    ]


class CListenerInfo(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("port", c_uint32),
        ("listener", c_uint64),
        ("links", c_uint32),
        ("greeting", c_uint32),
        ("accepted", c_uint64),
        ("never_heard", c_uint64),
        ("refused_links", c_uint64),
        ("refused_source", c_uint64),
        ("refused_greeting", c_uint64),
        ("refused_system", c_uint64),
        ("challenged", c_uint64),
        ("name", c_char * NAME_MAX),
        ("endpoint", c_char * ENDPOINT_MAX),
    ]


class CStats(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("links_paused", c_uint32),
        ("links_up", c_uint32),
        ("links_suspect", c_uint32),
        ("links_down", c_uint32),
        ("shards", c_uint32),
        ("opened", c_uint64),
        ("closed", c_uint64),
        ("beats_due", c_uint64),
        ("beats_sent", c_uint64),
        ("answers_received", c_uint64),
        ("answers_late", c_uint64),
        ("answers_unmatched", c_uint64),
        ("beats_received", c_uint64),
        ("answers_sent", c_uint64),
        ("answers_dropped", c_uint64),
        ("misses", c_uint64),
        ("messages_received", c_uint64),
        ("bytes_received", c_uint64),
        ("messages_sent", c_uint64),
        ("bytes_sent", c_uint64),
        ("suspects", c_uint64),
        ("ups", c_uint64),
        ("would_be_downs", c_uint64),
        ("downs", c_uint64 * CAUSES_MAX),
        ("readers_late", c_uint64),
        ("partial_frames", c_uint64),
        ("apps_not_responding", c_uint64),
        ("pauses", c_uint64),
        ("paused_ms", c_uint64),
        ("turns", c_uint64),
        ("strikes", c_uint64),
        ("frames_rejected", c_uint64),
        ("frames_unauthenticated", c_uint64),
    ]


class CHistogram(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("which", c_uint32),
        ("count", c_uint64),
        ("sum_us", c_uint64),
        ("min_us", c_uint64),
        ("max_us", c_uint64),
        ("p50_us", c_uint64),
        ("p90_us", c_uint64),
        ("p99_us", c_uint64),
        ("p999_us", c_uint64),
        ("below", c_uint64 * BELOW_MAX),
    ]


class CKeepalive(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("enabled", c_uint32),
        ("idle_ms", c_uint32),
        ("interval_ms", c_uint32),
        ("count", c_uint32),
        ("user_timeout_ms", c_uint32),
    ]


class CTcpInfo(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("state", c_uint32),
        ("unacked", c_uint32),
        ("retransmits", c_uint32),
        ("total_retransmits", c_uint32),
        ("rtt_us", c_uint32),
        ("rtt_var_us", c_uint32),
        ("last_ack_ms", c_uint32),
        ("last_data_received_ms", c_uint32),
        ("send_queue_bytes", c_uint32),
        ("unread_bytes", c_uint32),
    ]


# By its name in the header.
STRUCTS = {
    "hbeat_policy": CPolicy,
    "hbeat_event": CEvent,
    "hbeat_engine_options": CEngineOptions,
    "hbeat_health": CHealth,
    "hbeat_key": CKey,
    "hbeat_link_options": CLinkOptions,
    "hbeat_listener_options": CListenerOptions,
    "hbeat_listener_info": CListenerInfo,
    "hbeat_info": CInfo,
    "hbeat_stats": CStats,
    "hbeat_histogram": CHistogram,
    "hbeat_keepalive": CKeepalive,
    "hbeat_tcp_info": CTcpInfo,
}

Engine, Link, Status, Now = c_void_p, c_uint64, c_int32, c_uint64

# Name: (result, arguments). The reconnect delays are left out: Python programs have their own.
FUNCTIONS: Dict[str, Tuple[Any, List[Any]]] = {
    "hbeat_version": (c_char_p, []),
    "hbeat_version_number": (c_uint32, []),
    "hbeat_now_ns": (c_uint64, []),
    "hbeat_last_error": (c_char_p, []),
    "hbeat_policy_parse": (Status, [POINTER(CPolicy), c_size_t, c_char_p]),
    "hbeat_policy_print": (Status, [POINTER(CPolicy), c_void_p, c_size_t, POINTER(c_size_t)]),
    "hbeat_policy_check": (Status, [POINTER(CPolicy)]),
    "hbeat_policy_detection": (Status, [POINTER(CPolicy), POINTER(c_uint32), POINTER(c_uint32)]),
    "hbeat_policy_keepalive": (Status, [POINTER(CPolicy), POINTER(CKeepalive)]),
    "hbeat_keepalive_set": (Status, [c_int32, POINTER(CKeepalive)]),
    "hbeat_keepalive_get": (Status, [c_int32, POINTER(CKeepalive)]),
    "hbeat_tcp_info_get": (Status, [c_int32, POINTER(CTcpInfo)]),
    "hbeat_engine_new": (Status, [POINTER(CEngineOptions), POINTER(c_void_p)]),
    "hbeat_engine_stop": (Status, [Engine, c_uint32]),
    "hbeat_engine_free": (Status, [Engine]),
    "hbeat_engine_quiesce": (Status, [Engine, c_uint32]),
    "hbeat_engine_health": (Status, [Engine, POINTER(CHealth)]),
    "hbeat_engine_stats": (Status, [Engine, POINTER(CStats)]),
    "hbeat_engine_histogram": (Status, [Engine, c_uint32, POINTER(CHistogram)]),
    "hbeat_engine_links": (Status, [Engine, Link, POINTER(c_uint64), c_uint32, POINTER(c_uint32)]),
    "hbeat_engine_now": (Status, [Engine, POINTER(c_uint64)]),
    "hbeat_engine_wait": (Status, [Engine, POINTER(CEvent), c_uint32, c_uint32, c_uint32, POINTER(c_uint32)]),
    "hbeat_engine_fd": (Status, [Engine, POINTER(c_int32)]),
    "hbeat_engine_drive": (Status, [Engine, Now]),
    "hbeat_engine_next_deadline": (Status, [Engine, POINTER(c_uint64)]),
    "hbeat_engine_advance": (Status, [Engine, Now]),
    "hbeat_event_text": (Status, [POINTER(CEvent), c_void_p, c_size_t, POINTER(c_size_t)]),
    "hbeat_link_open": (Status, [Engine, POINTER(CPolicy), POINTER(CLinkOptions), POINTER(c_uint64)]),
    "hbeat_link_dial": (Status, [Engine, c_char_p, POINTER(CPolicy), POINTER(CLinkOptions), POINTER(c_uint64)]),
    "hbeat_link_adopt": (Status, [Engine, c_int32, POINTER(CPolicy), POINTER(CLinkOptions), POINTER(c_uint64)]),
    "hbeat_listener_open": (Status, [Engine, c_char_p, POINTER(CPolicy), POINTER(CListenerOptions), POINTER(c_uint64)]),
    "hbeat_listener_close": (Status, [Engine, c_uint64]),
    "hbeat_listener_info_get": (Status, [Engine, c_uint64, POINTER(CListenerInfo)]),
    "hbeat_link_start": (Status, [Engine, Link, Now]),
    "hbeat_link_pause": (Status, [Engine, Link, Now]),
    "hbeat_link_close": (Status, [Engine, Link]),
    "hbeat_engine_progress": (Status, [Engine, Now]),
    "hbeat_link_progress": (Status, [Engine, Link, Now]),
    "hbeat_link_received": (Status, [Engine, Link, Now]),
    "hbeat_links_received": (Status, [Engine, POINTER(c_uint64), c_uint32, Now]),
    "hbeat_link_sent": (Status, [Engine, Link, Now]),
    "hbeat_link_feed": (Status, [Engine, Link, c_void_p, c_size_t, Now]),
    "hbeat_link_feed_sent": (Status, [Engine, Link, c_void_p, c_size_t, Now]),
    "hbeat_link_beat_sent": (Status, [Engine, Link, c_uint32, Now]),
    "hbeat_link_take": (Status, [Engine, Link, POINTER(c_uint32), Now, c_void_p, c_size_t, POINTER(c_size_t)]),
    "hbeat_link_unsent": (Status, [Engine, Link, Now]),
    "hbeat_link_answer_received": (Status, [Engine, Link, c_uint32, Now]),
    "hbeat_link_beat_received": (Status, [Engine, Link, c_uint32, Now]),
    "hbeat_link_report_down": (Status, [Engine, Link, c_uint32, c_uint32]),
    "hbeat_link_set_policy": (Status, [Engine, Link, POINTER(CPolicy)]),
    "hbeat_link_set_keys": (Status, [Engine, Link, POINTER(CKey), c_size_t]),
    "hbeat_link_set_state": (Status, [Engine, Link, c_void_p, c_size_t]),
    "hbeat_link_peer_state": (Status, [Engine, Link, c_void_p, c_size_t, POINTER(c_size_t)]),
    "hbeat_link_info": (Status, [Engine, Link, POINTER(CInfo)]),
}

# Those that may wait give up the GIL. The others keep it: they never wait, not even for a thread that wants it, and
# giving it up and getting it back would cost more than they do.
WAITING = {"hbeat_engine_new", "hbeat_engine_stop", "hbeat_engine_free", "hbeat_engine_quiesce", "hbeat_engine_stats",
           "hbeat_engine_histogram", "hbeat_engine_advance", "hbeat_engine_drive"}
