import { expect, test } from "vitest";
import { ago, usd } from "./format";

test.each([
  [0, "$0.00"],
  [1, "$0.000000001"],
  [3_000, "$0.000003"],
  [9_999_999, "$0.009999999"],
  [10_000_000, "$0.01"],
  [15_000_000, "$0.02"],
  [1_234_567_890, "$1.23"],
  [9_007_199_254_740_991, "$9007199.25"],
])("%d nano-USD reads %s", (nanoUsd, text) => {
  expect(usd(nanoUsd)).toBe(text);
});

test.each([
  [-5_000, "0 s ago"],
  [59_999, "59 s ago"],
  [60_000, "1 min ago"],
  [3_600_000, "1 h ago"],
  [172_799_999, "47 h ago"],
  [172_800_000, "2 days ago"],
])("%d ms ago reads %s", (elapsedMs, text) => {
  expect(ago(1_000_000_000, 1_000_000_000 + elapsedMs)).toBe(text);
});
