#include "expressions.h"

bool Expressions::a_symbol_was_asked = false;

class Expressions::Expression final : public nvinfer1::IDimensionExpr, private nvinfer1::apiv::VDimensionExpr {
 public:
  Expression(int64_t value, bool is_constant) : value_(value), is_constant_(is_constant) { mImpl = this; }
  int64_t value() const { return value_; }

  bool isConstant() const override { return is_constant_; }
  bool isSizeTensor() const override { return false; }
  int64_t getConstantValue() const override {
    a_symbol_was_asked = a_symbol_was_asked || !is_constant_;
    return value_;
  }

 private:
  int64_t value_;
  bool is_constant_;
};

Expressions::Expressions() { mImpl = this; }
Expressions::~Expressions() noexcept = default;

const nvinfer1::IDimensionExpr* Expressions::constant(int64_t value) { return kept(value, true); }
const nvinfer1::IDimensionExpr* Expressions::symbol(int64_t value) { return kept(value, false); }

const nvinfer1::IDimensionExpr* Expressions::operation(nvinfer1::DimensionOperation op,
                                                       const nvinfer1::IDimensionExpr& first,
                                                       const nvinfer1::IDimensionExpr& second) {
  if (op != nvinfer1::DimensionOperation::kFLOOR_DIV) return nullptr;  // the only one that the plugin needs
  return kept(value_of(first) / value_of(second), first.isConstant() && second.isConstant());
}

const nvinfer1::IDimensionExpr* Expressions::declareSizeTensor(int32_t, const nvinfer1::IDimensionExpr&,
                                                               const nvinfer1::IDimensionExpr&) {
  return nullptr;
}

int64_t Expressions::value_of(const nvinfer1::IDimensionExpr& expression) {
  return static_cast<const Expression&>(expression).value();
}

nvinfer1::DimsExprs Expressions::shape(const Extents& extents) {
  nvinfer1::DimsExprs found{static_cast<int32_t>(extents.size()), {}};
  for (size_t i = 0; i < extents.size(); ++i) {
    found.d[i] = extents[i] < 0 ? symbol(-extents[i]) : constant(extents[i]);
  }
  return found;
}

const nvinfer1::IDimensionExpr* Expressions::kept(int64_t value, bool is_constant) {
  if (is_dry_) return nullptr;
  all_.push_back(std::make_unique<Expression>(value, is_constant));
  return all_.back().get();
}

Extents values_of(const nvinfer1::DimsExprs& shape) {
  Extents found;
  for (int32_t i = 0; i < shape.nbDims; ++i) found.push_back(Expressions::value_of(*shape.d[i]));
  return found;
}
