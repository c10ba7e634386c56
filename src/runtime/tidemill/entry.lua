-- entry.lua: the entries of a batch by their numbers: those of the streams from 0 on, and from FIRED on the timers and windows
-- that fired between them.
require "tidemill.cdef"

local entry = {}

local FIRED = 1073741824 -- batch/batch.h: FIRED_FIRST
local FIRED_MOST = 4294967296

entry.FIRED = FIRED

---The `struct batch_entry` of a number.
function entry.at(c, i)
  if i < FIRED then return c.entries[i] end
  return c.fired[i - FIRED].entry
end

---Where an entry stands in the order of the batch: one number that compares. What fired before entry 5 stands between 5 and 5.5,
---entry 5 itself at 5.5.
function entry.position(c, i)
  if i < FIRED then return i + 0.5 end
  return c.fired[i - FIRED].before + (i - FIRED) / FIRED_MOST
end

---The part of a batch in front of a position: its last entry, and how many fired.
---@return number last, number|nil fired  nil: as many as may
function entry.in_front(position)
  local last = math.ceil(position - 0.5) - 1
  local part = position - math.floor(position)
  return last, part < 0.5 and part * FIRED_MOST or nil
end

return entry
