#ifndef STAGEWRIGHT_FRONTENDS_LAYERSPEC_MODELSCHEMA_H
#define STAGEWRIGHT_FRONTENDS_LAYERSPEC_MODELSCHEMA_H

#include <string>

namespace stagewright {

/// docs/model.schema.json (JSON Schema, draft 2020-12), made from the table of layer types. It accepts what
/// `readModelSpec` accepts, but for rules between entries: names that are unique and known, a label of the
/// dtype that the loss reads.
std::string modelSchema();

} // namespace stagewright

#endif
