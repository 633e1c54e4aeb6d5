/* Another translation unit of the same program, in the oldest C that the headers promise. */
#ifdef LOADED
#include "hbeat_load.h"
#endif
#include "hbeat_easy.h"

#ifdef __cplusplus
extern "C" {
#endif
hbeat_engine *other_units_engine(void);
hbeat_status other_unit_watches(hbeat_easy_callback callback, void *data, hbeat_link *link);
#ifdef __cplusplus
}
#endif

hbeat_engine *other_units_engine(void)
{
    return hbeat_easy_engine();
}

hbeat_status other_unit_watches(hbeat_easy_callback callback, void *data, hbeat_link *link)
{
    return hbeat_easy_watch(-1, "other", "cmpp", "cmpp", callback, data, link);
}
