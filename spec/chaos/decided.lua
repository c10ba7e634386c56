-- decided.lua: the records of decisions in a chaotic world: which there must be (a share of the events, by stream and ID), each once.
--
-- Which they are is asked of the engine's own choice; that it is about the share, and always the same, is specified elsewhere
-- (spec/unit/decisions_spec.lua). A letter that is tried again makes a record of its own: those are passed over here.
require "spec.support.runtime"
local decisions = require "tidemill.decisions"

local decided = { SHARE = 0.2 }

local selects = decisions.selector(decided.SHARE)

-- "STREAM ID" of every event that must have a record, in the order of `events`: { stream, id }.
function decided.expectation(events)
  local must, seeds = {}, {}
  for _, event in ipairs(events) do
    local ms, seq = event.id:match "^(%d+)%-(%d+)$"
    seeds[event.stream] = seeds[event.stream] or decisions.seed(event.stream)
    if selects(seeds[event.stream], tonumber(ms), tonumber(seq)) then must[#must + 1] = event.stream .. " " .. event.id end
  end
  return must
end

-- The same of the records that are there. `each(stream, call)` reads a stream: call(fields) for every entry.
function decided.read(group, each)
  local is = {}
  each(("tidemill:%s:decisions"):format(group), function(fields)
    if fields.stream ~= "" and not fields.attempts then is[#is + 1] = fields.stream .. " " .. fields.id end
  end)
  return is
end

return decided
