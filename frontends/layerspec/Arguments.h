// Values of arguments: how a file writes them, and which are accepted.
#ifndef STAGEWRIGHT_FRONTENDS_LAYERSPEC_ARGUMENTS_H
#define STAGEWRIGHT_FRONTENDS_LAYERSPEC_ARGUMENTS_H

#include "frontends/json/PositionedJson.h"
#include "frontends/layerspec/LayerTypes.h"

#include <optional>
#include <string>

namespace stagewright {

/// The value that the JSON stands for; none if it is not of the argument's type. Its range is not looked at.
std::optional<ArgumentValue> argumentFrom(const json::Value &value, const ArgumentType &argument);

/// True if the value is of the argument's type and in its range.
bool accepts(const ArgumentType &argument, const ArgumentValue &value);

/// What the argument takes: "an integer from 1 to 8".
std::string wantedText(const ArgumentType &argument);

/// A value for a message, as JSON.
std::string shown(const ArgumentValue &value);

/// The JSON Schema of the argument's values, as JSON text.
std::string argumentSchema(const ArgumentType &argument);

/// Why the argument of this type of layer is refused, given the value's text.
Error argumentError(std::string place, const LayerType &type, const ArgumentType &argument,
                    const std::string &shown);

} // namespace stagewright

#endif
