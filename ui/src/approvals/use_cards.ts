// What waits for an answer, asked for again every second while the window is visible, and the way to give one.

import { type UseQueryResult, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { call, type RpcError } from "../host";
import { type Card, parseCards } from "./card";

const EVERY_MS = 1_000;
const KEY = ["approval.cards"];

/** Yes once, yes for the run, or no. */
export type Verdict = "once" | "run" | "deny";

export function useCards(): UseQueryResult<Card[], RpcError> {
  return useQuery<Card[], RpcError>({
    queryKey: KEY,
    queryFn: async () => parseCards(await call("approval.cards", {})),
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
