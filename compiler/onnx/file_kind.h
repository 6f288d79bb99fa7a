// What a file that is no ONNX model is instead, by its first bytes: for the sentence that refuses it.
#pragma once

#include <cstdint>
#include <span>

namespace tern::onnx {

// Sentences that say what it is and what to do; empty where nothing is known.
const char* what_else(std::span<const uint8_t> bytes);

}  // namespace tern::onnx
