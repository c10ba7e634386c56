-- exact.lua: a rule whose every effect can be counted, and the count: nothing lost, nothing doubled, nothing out of order.
--
-- Events are { n = 1 …, k = "key" }; each adds to the state of its key, writes an entry to `out` and pushes n on a list.
local engine = require "spec.support.engine"

local exact = { KEYS = 7 }

exact.RULES = {
  ["exact.lua"] = engine.rule([[
    local s = ctx.state
    s.count = (s.count or 0) + 1
    s.sum = (s.sum or 0) + event.n
    ctx.emit("out", { n = event.n, count = s.count, sum = s.sum })
    ctx.redis.rpush("list", event.n)
  ]], 'stream = "orders", key = "k"'),
}

local function key_of(n)
  return "k" .. n % exact.KEYS
end

-- Events first … last on `orders`; `ms` as of engine.flood.
function exact.feed(server, last, first, ms)
  local commands = {}
  for n = first or 1, last do
    commands[#commands + 1] = { "XADD", "orders", ("%d-%d"):format(ms or 1, n), "data", engine.pack { n = n, k = key_of(n) } }
    if #commands == 5000 then
      server:pipeline(commands)
      commands = {}
    end
  end
  if #commands > 0 then
    server:pipeline(commands)
  end
end

-- Waits until all of 1 … last is done, and compares everything with what must be.
function exact.check(e, last, deadline_s, ms)
  local server, sums, counts = e.server, {}, {}
  e:wait_position("orders", ("%d-%d"):format(ms or 1, last), deadline_s or 20)
  e:wait_done()
  local entries, list = e:emitted "out", server:call("LRANGE", "list", 0, -1)
  assert(#list == last, ("the list has %d numbers, not %d"):format(#list, last))
  assert(#entries == last, ("out has %d entries, not %d"):format(#entries, last))
  for n = 1, last do
    local k, entry = key_of(n), entries[n]
    sums[k], counts[k] = (sums[k] or 0) + n, (counts[k] or 0) + 1
    assert(tonumber(list[n]) == n, ("number %d of the list is %s"):format(n, list[n]))
    assert(entry.n == n and entry.count == counts[k] and entry.sum == sums[k],
      ("entry %d of out: n %s, count %s (not %d), sum %s (not %d)"):format(n, entry.n, entry.count, counts[k], entry.sum, sums[k]))
  end
  for k, count in pairs(counts) do
    local state = e:state("exact", k)
    assert(state.count == count and state.sum == sums[k], ("state %s: %s, %s"):format(k, state.count, state.sum))
  end
end

-- The letters, without those `unverified`, of which at most `most` are allowed.
function exact.letters(e, most)
  local others, unverified = {}, 0
  for _, letter in ipairs(e:letters()) do
    if letter.reason == "unverified" then
      unverified = unverified + 1
    else
      others[#others + 1] = letter
    end
  end
  assert(unverified <= (most or 0), ("%d letters unverified, at most %d allowed"):format(unverified, most or 0))
  return others
end

return exact
