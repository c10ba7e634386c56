-- health.lua: which rules keep failing (settings `failing`): so many events in a row, or more than so many percent of the last
-- 1,000. It is told once when it begins, and once when it is over; what happens to the events is the matter of `on_error` alone.
--
-- An event that a rule has done costs one addition, `R.passed` (step.lua). All else happens on failures, which are counted when
-- their batch is done: one that is run again would count twice.
--
--   R.passed, R.failed, R.skipped   events, since the engine's start
--   R.health                        of this version of the rule:
--     row, passed                   failures in a row, and R.passed at the last one
--     count, ring                   failures, and when the latest were: on the how-manieth event
local health = {}

local WINDOW = 1000 -- events

---@param settings { failing_in_a_row?: number, failing_percent?: number }  nil: never
function health.open(R, settings)
  R.passed, R.failed, R.skipped = 0, 0, 0
  R.health = {
    row = 0, passed = -1, count = 0, ring = {}, is_failing = false,
    row_most = settings.failing_in_a_row or math.huge,
    size = math.floor(WINDOW * (settings.failing_percent or 100) / 100) + 1, -- so many failures of a window are too many
  }
end

-- Are there as many as `number` failures among the last WINDOW events, of which `now` is the latest?
local function are_recent(h, number, now)
  local first = h.ring[(h.count - number) % h.size]
  return h.count >= number and now - first < WINDOW
end

---One more failure of a rule, when R.passed was `passed`.
function health.fail(K, R, passed, reason, message)
  local h = R.health
  R.failed = R.failed + 1
  h.row = passed == h.passed and h.row + 1 or 1
  h.passed = passed
  local now = passed + h.count
  h.ring[h.count % h.size] = now
  h.count = h.count + 1
  if h.is_failing or not (h.row >= h.row_most or are_recent(h, h.size, now)) then return end
  h.is_failing = true
  K.failing_count = K.failing_count + 1
  if K.host.failing then K.host.failing(R, true, reason, message) end
end

---While rules are failing (K.failing_count), after each batch. To be well again takes half of the failures that made it ill, so
---that a rule near the edge is not told of all the time.
function health.look(K)
  for _, R in ipairs(K.rules) do
    local h = R.health
    if h.is_failing and R.passed > h.passed and not are_recent(h, math.ceil(h.size / 2), R.passed + h.count) then
      h.is_failing, h.row = false, 0
      K.failing_count = K.failing_count - 1
      if K.host.failing then K.host.failing(R, false) end
    end
  end
end

return health
