// Score pictures with ONNX Runtime and nothing else.
//
//   rali export builtin -o model.onnx --image                      # writes model_image.onnx
//   c++ -std=c++17 score.cpp -I INCLUDE -L LIB -l onnxruntime -o score
//   ./score model_image.onnx photo.ppm                             # 3.87
//
// INCLUDE and LIB belong to a release of ONNX Runtime. LIB may also be pip's onnxruntime/capi, and
// INCLUDE the headers that the npm package com.github.asus4.onnxruntime holds, of no newer version;
// then name the library itself: -l:libonnxruntime.so.1.32.0. The model
// itself resizes, crops and normalises: it takes RGB bytes of any height and width. Read your JPEG
// files with any library; here they come as binary PPM (`djpeg photo.jpg > photo.ppm`).

#include <onnxruntime_cxx_api.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

struct Picture {
  int64_t height = 0, width = 0;
  std::vector<uint8_t> rgb;  // height × width × 3, row by row
};

Picture read_ppm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string magic;
  Picture picture;
  int levels = 0;
  if (!(file >> magic >> picture.width >> picture.height >> levels) || magic != "P6" ||
      levels != 255 || picture.width < 1 || picture.height < 1) {
    throw std::runtime_error(path + " is not a binary PPM file of 8 bits (P6)");
  }
  file.get();  // the one white space before the pixels
  picture.rgb.resize(picture.height * picture.width * 3);
  if (!file.read(reinterpret_cast<char*>(picture.rgb.data()), picture.rgb.size())) {
    throw std::runtime_error(path + " ends too early");
  }
  return picture;
}

float score(Ort::Session& session, Picture& picture) {
  const std::array<int64_t, 3> shape{picture.height, picture.width, 3};
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const auto image = Ort::Value::CreateTensor<uint8_t>(
      memory, picture.rgb.data(), picture.rgb.size(), shape.data(), shape.size());
  const char* inputs[] = {"image"};
  const char* outputs[] = {"score"};  // the other output is "embedding"
  const auto found = session.Run(Ort::RunOptions{nullptr}, inputs, &image, 1, outputs, 1);
  return found[0].GetTensorData<float>()[0];
}

int main(int count, char** words) {
  if (count < 3) {
    std::cerr << "usage: score model_image.onnx PICTURE.ppm...\n";
    return 2;
  }
  int failed = 0;
#ifndef _WIN32
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);  // from 1.32 on, ONNX Runtime reports to its makers
#endif
  try {
    Ort::Env environment(ORT_LOGGING_LEVEL_ERROR, "rali");
    Ort::Session session(environment, words[1], Ort::SessionOptions());
    for (int place = 2; place < count; ++place) {
      try {
        Picture picture = read_ppm(words[place]);
        std::cout << words[place] << "\t" << score(session, picture) << "\n";
      } catch (const std::exception& error) {
        std::cerr << error.what() << "\n";
        failed = 1;
      }
    }
  } catch (const std::exception& error) {
    std::cerr << words[1] << ": " << error.what() << "\n";
    return 2;
  }
  return failed;
}
