#include "op/scalar.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace natdeploy {
namespace {

// Neighbours of a token along one axis: `count` tokens from `first`, `step` apart.
struct Window {
  int32_t first = 0;
  int32_t step = 1;
  int32_t relative = 0;  // rpb row of the first neighbour; the rows of the others follow
};

// The window of kernel tokens inside the dilation group of `token`; at the border it shifts, it never shrinks.
Window window_along_axis(int32_t token, int32_t extent, int32_t kernel, int32_t dilation) {
  const int32_t group = token % dilation;
  const int32_t place = token / dilation;
  const int32_t length = (extent - group + dilation - 1) / dilation;
  const int32_t start = std::clamp(place - kernel / 2, 0, length - kernel);
  return {.first = group + start * dilation, .step = dilation, .relative = start - place + kernel - 1};
}

const float* token_at(const TensorView& view, int64_t batch, int32_t row, int32_t column, int32_t head) {
  return static_cast<const float*>(view.data) + batch * view.batch_stride + row * view.row_stride +
         column * view.column_stride + head * view.head_stride;
}

class OneQuery {
 public:
  OneQuery(const AttentionParameters& p, const AttentionTensors& tensors, int64_t batch, int32_t head)
      : p_(p), tensors_(tensors), batch_(batch), head_(head) {}

  void attend(int32_t row, int32_t column) const {
    const Window rows = window_along_axis(row, p_.map.height, p_.kernel_size.height, p_.dilation.height);
    const Window columns = window_along_axis(column, p_.map.width, p_.kernel_size.width, p_.dilation.width);
    const float* query = token_at(tensors_.query, batch_, row, column, head_);
    std::vector<double> weights;
    for_each_neighbor(rows, columns, [&](int32_t r, int32_t c, double bias) {
      weights.push_back(dot(query, token_at(tensors_.key, batch_, r, c, head_)) * p_.scale + bias);
    });
    const double largest = *std::max_element(weights.begin(), weights.end());
    double sum = 0;
    for (double& weight : weights) sum += weight = std::exp(weight - largest);
    std::vector<double> mean(p_.head_dim, 0.0);
    size_t i = 0;
    for_each_neighbor(rows, columns, [&](int32_t r, int32_t c, double) {
      const float* value = token_at(tensors_.value, batch_, r, c, head_);
      for (int32_t d = 0; d < p_.head_dim; ++d) mean[d] += weights[i] / sum * value[d];
      ++i;
    });
    float* output = const_cast<float*>(token_at(tensors_.output, batch_, row, column, head_));
    std::copy(mean.begin(), mean.end(), output);
  }

 private:
  template <class Visit>
  void for_each_neighbor(const Window& rows, const Window& columns, Visit visit) const {
    const int32_t span = 2 * p_.kernel_size.width - 1;
    const int64_t table = static_cast<int64_t>(head_) * (2 * p_.kernel_size.height - 1) * span;
    for (int32_t r = 0; r < p_.kernel_size.height; ++r) {
      for (int32_t c = 0; c < p_.kernel_size.width; ++c) {
        const int64_t entry = table + (rows.relative + r) * static_cast<int64_t>(span) + columns.relative + c;
        visit(rows.first + r * rows.step, columns.first + c * columns.step, p_.has_rpb ? tensors_.rpb[entry] : 0.0);
      }
    }
  }

  double dot(const float* a, const float* b) const {
    double sum = 0;
    for (int32_t d = 0; d < p_.head_dim; ++d) sum += static_cast<double>(a[d]) * b[d];
    return sum;
  }

  const AttentionParameters& p_;
  const AttentionTensors& tensors_;
  int64_t batch_;
  int32_t head_;
};

}  // namespace

void scalar_attention(const AttentionParameters& p, const AttentionTensors& tensors) {
  for (int64_t batch = 0; batch < p.batch; ++batch) {
    for (int32_t head = 0; head < p.heads; ++head) {
      const OneQuery query(p, tensors, batch, head);
      for (int32_t row = 0; row < p.map.height; ++row) {
        for (int32_t column = 0; column < p.map.width; ++column) query.attend(row, column);
      }
    }
  }
}

}  // namespace natdeploy
