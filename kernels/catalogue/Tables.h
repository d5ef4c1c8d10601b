// The catalogue's entries, one table per family, in the order of the file format's documentation.
#ifndef STAGEWRIGHT_CATALOGUE_TABLES_H
#define STAGEWRIGHT_CATALOGUE_TABLES_H

#include "catalogue/Catalogue.h"

namespace stagewright::catalogue {

std::vector<Kernel> linearKernels();
std::vector<Kernel> activationKernels();
std::vector<Kernel> channelNormKernels();
std::vector<Kernel> convolutionKernels();
std::vector<Kernel> poolingKernels();
std::vector<Kernel> arithmeticKernels();
std::vector<Kernel> movementKernels();
std::vector<Kernel> lossKernels();
std::vector<Kernel> optimizerKernels();
std::vector<Kernel> rowNormKernels();
std::vector<Kernel> softmaxKernels();
std::vector<Kernel> embeddingKernels();
std::vector<Kernel> rotaryKernels();
std::vector<Kernel> dropoutKernels();
std::vector<Kernel> attentionKernels();
std::vector<Kernel> maskedMeanKernels();
std::vector<Kernel> collectiveKernels();

} // namespace stagewright::catalogue

#endif
