// Another translation unit of the same program, of another standard than the first: what they hand each other is the same.
#ifdef LOADED
#include "hbeat_load.h"
#endif
#include "hbeat.hpp"

std::string other_units_line(const hbeat::event &event);
hbeat::link other_unit_opens(const hbeat::engine &engine, std::string data);

std::string other_units_line(const hbeat::event &event) { return event.text(); }

hbeat::link other_unit_opens(const hbeat::engine &engine, std::string data) {
    hbeat::link_options how;
    how.name = data;
    return engine.open(hbeat::policy("cmpp"), how, std::move(data));
}
