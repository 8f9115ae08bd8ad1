#!/usr/bin/env node
// Draws src-tauri/icons/icon.png: a gate of two posts and a lintel, and the dot that has to pass it.
import { deflateSync } from "node:zlib";
import { writeFileSync } from "node:fs";

const SIZE = 512;
const FINE = 4; // samples a side, for smooth edges

const rounded = (x, y, left, top, right, bottom, radius) => {
  const dx = Math.max(left + radius - x, 0, x - (right - radius));
  const dy = Math.max(top + radius - y, 0, y - (bottom - radius));
  return dx * dx + dy * dy <= radius * radius && x >= left && x <= right && y >= top && y <= bottom;
};

const colour = (x, y) => {
  if (!rounded(x, y, 24, 24, 488, 488, 108)) return [0, 0, 0, 0];
  if ((x - 256) ** 2 + (y - 312) ** 2 <= 46 ** 2) return [255, 184, 77, 255];
  const lintel = rounded(x, y, 120, 124, 392, 176, 26);
  const posts = rounded(x, y, 120, 124, 172, 396, 26) || rounded(x, y, 340, 124, 392, 396, 26);
  return lintel || posts ? [244, 246, 250, 255] : [27, 34, 54, 255];
};

const pixel = (column, row) => {
  const sum = [0, 0, 0, 0];
  for (let i = 0; i < FINE * FINE; i++) {
    const [r, g, b, a] = colour(column + ((i % FINE) + 0.5) / FINE, row + (Math.floor(i / FINE) + 0.5) / FINE);
    sum[0] += r * a; sum[1] += g * a; sum[2] += b * a; sum[3] += a;
  }
  const alpha = sum[3] || 1;
  return [sum[0] / alpha, sum[1] / alpha, sum[2] / alpha, sum[3] / (FINE * FINE)].map(Math.round);
};

const crc = (bytes) => {
  let value = 0xffffffff;
  for (const byte of bytes) {
    value ^= byte;
    for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? 0xedb88320 : 0);
  }
  return (value ^ 0xffffffff) >>> 0;
};

const chunk = (type, data) => {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const frame = Buffer.alloc(8);
  frame.writeUInt32BE(data.length, 0);
  frame.writeUInt32BE(crc(body), 4);
  return Buffer.concat([frame.subarray(0, 4), body, frame.subarray(4)]);
};

const rows = [];
for (let row = 0; row < SIZE; row++) {
  rows.push(0);
  for (let column = 0; column < SIZE; column++) rows.push(...pixel(column, row));
}
const header = Buffer.alloc(13);
header.writeUInt32BE(SIZE, 0);
header.writeUInt32BE(SIZE, 4);
header.set([8, 6, 0, 0, 0], 8);
writeFileSync(
  new URL("../src-tauri/icons/icon.png", import.meta.url),
  Buffer.concat([
    Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]),
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(Buffer.from(rows), { level: 9 })),
    chunk("IEND", Buffer.alloc(0)),
  ]),
);
