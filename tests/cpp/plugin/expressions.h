// Dimension expressions as TensorRT's builder gives them: constants, and symbols whose value nobody may ask for.
#pragma once

#include <NvInferRuntime.h>

#include <memory>
#include <vector>

#include "node.h"

class Expressions final : public nvinfer1::IExprBuilder, private nvinfer1::apiv::VExprBuilder {
 public:
  Expressions();
  ~Expressions() noexcept override;

  const nvinfer1::IDimensionExpr* constant(int64_t value) override;
  const nvinfer1::IDimensionExpr* operation(nvinfer1::DimensionOperation op, const nvinfer1::IDimensionExpr& first,
                                            const nvinfer1::IDimensionExpr& second) override;
  const nvinfer1::IDimensionExpr* declareSizeTensor(int32_t, const nvinfer1::IDimensionExpr&,
                                                    const nvinfer1::IDimensionExpr&) override;

  // A symbol that will turn out to be `value`.
  const nvinfer1::IDimensionExpr* symbol(int64_t value);

  // What an expression turns out to be.
  static int64_t value_of(const nvinfer1::IDimensionExpr& expression);

  // Axes of a shape: negative extents -n become symbols that turn out to be n.
  nvinfer1::DimsExprs shape(const Extents& extents);

  // From now on nothing comes out: a builder that is out of memory.
  void run_dry() { is_dry_ = true; }

  // Whether anyone asked a symbol for its value.
  static bool a_symbol_was_asked;

 private:
  class Expression;
  const nvinfer1::IDimensionExpr* kept(int64_t value, bool is_constant);

  std::vector<std::unique_ptr<Expression>> all_;
  bool is_dry_ = false;
};

Extents values_of(const nvinfer1::DimsExprs& shape);
