// The list of runs, asked for again every two seconds while the window is visible.

import { type UseQueryResult, useQuery } from "@tanstack/react-query";
import { call, type RpcError } from "../host";
import { parseRuns, type Run } from "./run";

const EVERY_MS = 2_000;

export function useRuns(): UseQueryResult<Run[], RpcError> {
  return useQuery<Run[], RpcError>({
    queryKey: ["run.list"],
    queryFn: async () => parseRuns(await call("run.list", {})),
    refetchInterval: EVERY_MS,
  });
}
