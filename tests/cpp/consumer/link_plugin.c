/* The plugin library as an ordinary one, without any TensorRT: prints its manifest. */
#include <natdeploy/tensorrt_plugin.h>
#include <stdio.h>

int main(void) { return printf("%s\n", natdeploy_manifest()) < 0; }
