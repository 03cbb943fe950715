// Reads what personatalk_core/previews/geometry_viewer.py writes.

const TYPES = { uint16: Uint16Array, int16: Int16Array, float32: Float32Array };
const aligned = (bytes) => Math.ceil(bytes / 4) * 4;

/** ArrayBuffer -> {unit, times, status, triangles, target, source?, rotation, vertexCount, frameCount}. */
export function readGeometry(buffer) {
  const size = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
  let offset = 4 + aligned(size);
  const geometry = { unit: header.unit, times: header.times, status: header.status };
  for (const { name, dtype, shape } of header.arrays) {
    const array = new TYPES[dtype](buffer, offset, shape.reduce((product, n) => product * n, 1));
    geometry[name] = array;
    if (name === "target") [geometry.frameCount, geometry.vertexCount] = shape;
    offset += aligned(array.byteLength);
  }
  return geometry;
}
