// What waits for an answer, asked for again every second while the window is visible, and the way to give one.

import { type UseQueryResult, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { call, type RpcError } from "../host";
import { parseQuestions, type Question } from "./question";

const EVERY_MS = 1_000;
const KEY = ["approval.list"];

/** Yes once, yes for the run, or no. */
export type Verdict = "once" | "run" | "deny";

export function useQuestions(): UseQueryResult<Question[], RpcError> {
  return useQuery<Question[], RpcError>({
    queryKey: KEY,
    queryFn: async () => parseQuestions(await call("approval.list", {})),
    refetchInterval: EVERY_MS,
  });
}

export function useAnswer(id: string) {
  const client = useQueryClient();
  return useMutation<unknown, RpcError, Verdict>({
    mutationFn: (verdict) =>
      call(
        "approval.answer",
        verdict === "deny" ? { id, answer: "deny" } : { id, answer: "approve", lasts: { kind: verdict } },
      ),
    onSettled: () => client.invalidateQueries({ queryKey: KEY }),
  });
}
