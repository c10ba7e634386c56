-- event_time.lua: when an event happened, in ms since 1970 UTC, from whatever its time field holds.
--
-- Called for every event of a rule with `time`, so it is written for the JIT: bytes at fixed places, no patterns, nothing
-- allocated. What cannot be read is nil, and the event is a dead letter `time`: a wrong time would close windows, or hold them
-- open, and a guess would do so silently.
--
--   numbers, int64, and text of digits   below 1e11 seconds (that is until the year 5138), else ms (from 1973 on)
--   ISO 8601 and RFC 3339                a date, alone or with a time behind `T` or a space; without a zone it is UTC
--   a msgpack timestamp                  the ext type -1
--
-- Fractions of a ms are dropped. A leap second (`:60`) is the last ms of the minute before it, as the clocks of Unix have no
-- other place for it. Refused: times before 1970, nan and infinity, 24:00, days that the month does not have, microseconds and
-- nanoseconds since 1970 (they are dates far ahead: the letter says `future`, or `time` where they pass 2^53).
local value = require "tidemill.value"

local event_time = {}

local byte, floor, type, tonumber = string.byte, math.floor, type, tonumber
local getmetatable, rawget = getmetatable, rawget

local SECONDS_BELOW = 1e11
local MS_BELOW = 9007199254740992 -- 2^53: exact in a double

local function of_number(v)
  if not (v >= 0 and v < MS_BELOW) then return nil end
  if v >= SECONDS_BELOW then return floor(v) end
  return floor(v * 1000 + 0.0005) -- 1700000000.123 * 1000 is a little less than ...123; doubles here are 0.0002 ms apart
end

-- What a byte counts as a digit. Others make any sum with them negative, so that one comparison finds them: a trace of the JIT
-- takes only so many.
local DIGIT = {}
for b = 0, 255 do DIGIT[b] = (b >= 48 and b <= 57) and b - 48 or -1e6 end

local function two(a, b) return DIGIT[a] * 10 + DIGIT[b] end

local DAYS = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }

local function days_in(year, month)
  if month == 2 and year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0) then return 29 end
  return DAYS[month]
end

-- Days since 1970-01-01 of a date of the Gregorian calendar: days_from_civil of Howard Hinnant, "chrono-Compatible Low-Level
-- Date Algorithms" (howardhinnant.github.io/date_algorithms.html), without the eras before year 0. A year begins in March
-- there, so that the leap day is its last one, and the days before a month are (153 m + 2) / 5.
local function days_from_civil(year, month, day)
  if month <= 2 then year, month = year - 1, month + 12 end
  local days = year * 365 + floor(year / 4) - floor(year / 100) + floor(year / 400)
  return days + floor((153 * (month - 3) + 2) / 5) + day - 719469
end

-- The zone behind a time, from `at` on: its ms, to be subtracted. Nil: this is none.
local function zone_at(text, len, at)
  if at > len then return 0 end
  local sign = byte(text, at)
  if sign == 90 or sign == 122 then -- Z
    if at == len then return 0 end
    return nil
  end
  if (sign ~= 43 and sign ~= 45) or len < at + 2 then return nil end
  local hours, minutes = two(byte(text, at + 1, at + 2)), 0
  if len == at + 5 and byte(text, at + 3) == 58 then -- +02:00
    minutes = two(byte(text, at + 4, at + 5))
  elseif len == at + 4 then -- +0200
    minutes = two(byte(text, at + 3, at + 4))
  elseif len ~= at + 2 then
    return nil
  end
  if hours < 0 or hours > 23 or minutes < 0 or minutes > 59 then return nil end
  local ms = (hours * 60 + minutes) * 60000
  return sign == 43 and ms or -ms
end

local function is_digit(b) return b ~= nil and DIGIT[b] >= 0 end

-- The ms of the 1 to 9 digits from `at` on, and the place behind them. Three, the most common, and fewer take no loop.
local function fraction_at(text, len, at)
  local a, b, c, d = byte(text, at, at + 3)
  if not is_digit(a) then return nil end
  local ms = DIGIT[a] * 100
  if not is_digit(b) then return ms, at + 1 end
  ms = ms + DIGIT[b] * 10
  if not is_digit(c) then return ms, at + 2 end
  ms = ms + DIGIT[c]
  if not is_digit(d) then return ms, at + 3 end
  for i = at + 4, len do
    if not is_digit(byte(text, i)) then return ms, i end
    if i == at + 9 then return nil end
  end
  return ms, len + 1
end

-- The ms that stand behind the minute: seconds and their fraction, less the zone, from byte 17 on, each of which may be missing.
local function behind_minute(text, len)
  local ms, at = 0, 17
  if len >= 19 and byte(text, 17) == 58 then
    local second = two(byte(text, 18, 19))
    if second < 0 or second > 60 then return nil end
    ms, at = second * 1000, 20
    local mark = len >= 20 and byte(text, 20)
    if mark == 46 or mark == 44 then -- RFC 3339 has the point, ISO 8601 the comma, too
      local fraction, behind = fraction_at(text, len, 21)
      if not fraction then return nil end
      ms, at = ms + fraction, behind
    end
    if second == 60 then ms = 59999 end
  end
  local zone = zone_at(text, len, at)
  if not zone then return nil end
  return ms - zone
end

-- "2023-11-14": the ms of its midnight.
local function of_day(text)
  local y1, y2, y3, y4, dash, m1, m2, dash2, d1, d2 = byte(text, 1, 10)
  local year, month, day = two(y1, y2) * 100 + two(y3, y4), two(m1, m2), two(d1, d2)
  if dash ~= 45 or dash2 ~= 45 or year < 0 or month < 1 or month > 12 then return nil end
  if day < 1 or day > days_in(year, month) then return nil end
  return days_from_civil(year, month, day) * 86400000
end

-- From the end to the begin, because the shapes differ at the end: where a trace of the JIT leaves for another shape, it has
-- little in its registers then. (The other way round it gave up: 220 ns in place of 17.)
local function of_date(text, len)
  local ms = 0
  if len > 10 then
    if len < 16 then return nil end
    ms = behind_minute(text, len)
    if not ms then return nil end
    local gap, h1, h2, colon, m1, m2 = byte(text, 11, 16)
    if gap ~= 84 and gap ~= 32 and gap ~= 116 then return nil end -- T, a space, t
    local hour, minute = two(h1, h2), two(m1, m2)
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or colon ~= 58 then return nil end
    ms = ms + (hour * 60 + minute) * 60000
  end
  local midnight = of_day(text)
  if not midnight then return nil end
  ms = ms + midnight
  if ms < 0 then return nil end
  return ms
end

-- "1700000000", "1700000000.25": digits, with at most one point among them. (tonumber takes "0x10", "1e9", "nan", " 7 ", too.)
local function of_digits(text, len)
  if len > 32 then return nil end
  local has_point = false
  for i = 1, len do
    local b = byte(text, i)
    if b == 46 then
      if has_point or i == 1 or i == len then return nil end
      has_point = true
    elseif b < 48 or b > 57 then
      return nil
    end
  end
  return of_number(tonumber(text))
end

local function big(bytes, from, count)
  local n = 0
  for i = from, from + count - 1 do n = n * 256 + byte(bytes, i) end
  return n
end

-- The msgpack timestamp (ext -1): seconds of 32 bits; nanoseconds of 30 and seconds of 34 bits; or of 32 and 64 (signed).
-- github.com/msgpack/msgpack/blob/master/spec.md#timestamp-extension-type. A rule may forge an ext, so its __index is kept out.
local function of_ext(v)
  local bytes = rawget(v, "bytes")
  if rawget(v, "type") ~= -1 or type(bytes) ~= "string" then return nil end
  local nanoseconds, seconds = 0, nil
  if #bytes == 4 then
    seconds = big(bytes, 1, 4)
  elseif #bytes == 8 then
    local high = big(bytes, 1, 4)
    nanoseconds, seconds = floor(high / 4), high % 4 * 4294967296 + big(bytes, 5, 4)
  elseif #bytes == 12 then
    nanoseconds, seconds = big(bytes, 1, 4), big(bytes, 5, 8) -- negative ones are large here
  end
  if not seconds or nanoseconds > 999999999 or seconds * 1000 >= MS_BELOW then return nil end
  return seconds * 1000 + floor(nanoseconds / 1000000)
end

---The ms since 1970 UTC that a value means, a whole number of 0 or more below 2^53; nil when it means no time.
---@param v any
---@return number|nil ms
function event_time.parse(v)
  local kind = type(v)
  if kind == "string" then
    local len = #v
    if len >= 10 and byte(v, 5) == 45 then return of_date(v, len) end
    if len == 0 then return nil end
    return of_digits(v, len)
  end
  if kind == "number" then return of_number(v) end
  if kind == "cdata" and value.is_int64(v) then
    if v.is_unsigned then return nil end -- above 2^63
    return of_number(tonumber(v.value))
  end
  if kind == "table" and getmetatable(v) == "ext" then return of_ext(v) end
  return nil
end

return event_time
