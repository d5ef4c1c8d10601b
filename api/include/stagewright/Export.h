// What the shared library shows to its users.
#ifndef STAGEWRIGHT_EXPORT_H
#define STAGEWRIGHT_EXPORT_H

#define STAGEWRIGHT_API __attribute__((visibility("default")))

#endif
