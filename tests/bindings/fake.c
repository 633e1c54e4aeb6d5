/* Something that says it is libhbeat: run.py makes several of it, with a version and with the functions that FUNCTIONS lists. */
unsigned int hbeat_version_number(void);
unsigned int hbeat_version_number(void)
{
    return VERSION;
}

#define FAKE(name) \
    void hbeat_##name(void); \
    void hbeat_##name(void) {}
FUNCTIONS
