import { expect, test } from "vitest";
import { ago, usd } from "./format";

test.each([
  [0, "$0.00"],
  [1, "$0.01"],
  [10_000_000, "$0.01"],
  [1_234_567_890, "$1.24"],
  [9_007_199_254_740_991, "$9007199.26"],
])("%d nano-USD reads %s", (nanoUsd, text) => {
  expect(usd(nanoUsd)).toBe(text);
});

test.each([
  [-5_000, "just now"],
  [59_999, "just now"],
  [60_000, "1m ago"],
  [3_599_999, "59m ago"],
  [7_200_000, "2h ago"],
  [172_800_000, "2d ago"],
])("%d ms ago reads %s", (elapsedMs, text) => {
  expect(ago(1_000_000_000, 1_000_000_000 + elapsedMs)).toBe(text);
});
