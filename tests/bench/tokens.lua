-- For wrk: every request has the next token of a file, round and round.
local requests, at = {}, 0

function init(args)
  for token in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format("GET", nil, { cookie = "a=b", authorization = "Bearer " .. token })
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end
