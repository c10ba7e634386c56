-- replay.lua: `tidemill replay` over what a server holds, and what came of it, beside what a live engine left there.
--
--   local replay = require "spec.support.replay"
--   local r = replay.run { folder = e.folder, server = server, arguments = { "--from", "5-0" } }
--   assert.same(e:emitted "out", r:emitted "out")
--   assert.same(replay.letters_of(e), r:letters())
local json = require "dkjson"
local program = require "spec.support.program"

local replay = {}
local Replayed = {}
Replayed.__index = Replayed

-- The words of the command. Options: folder (with rules and settings.lua), server or url or neither, rules (a folder), against,
-- arguments.
function replay.words(options)
  local words = { "replay", "--rules", options.rules or options.folder .. "/rules", "--config", options.folder .. "/settings.lua" }
  if options.server or options.url then
    words[#words + 1], words[#words + 2] = "--redis", options.url or options.server:url()
  end
  if options.against then
    words[#words + 1], words[#words + 2] = "--against", options.against
  end
  for _, word in ipairs(options.arguments or {}) do
    words[#words + 1] = word
  end
  return words
end

-- Runs it to its end. Its exit status must be options.code (0) unless that is false. `input`: what it reads.
function replay.run(options)
  local self = setmetatable({}, Replayed)
  self.code, self.out, self.err = program.run(replay.words(options), { input = options.input }, options.deadline_s or 30)
  if options.code ~= false and self.code ~= (options.code or 0) then
    error(("tidemill replay ended with %s:\n%s\n%s"):format(tostring(self.code), self.out:sub(-1000), self.err:sub(-3000)), 2)
  end
  return self
end

-- Every line as a table.
function Replayed:lines()
  local list = {}
  for line in self.out:gmatch "[^\n]+" do
    list[#list + 1] = assert(json.decode(line), line)
  end
  return list
end

-- The only line, as a table.
function Replayed:json()
  assert(select(2, self.out:gsub("\n", "")) == 1, self.out)
  return assert(json.decode(self.out), self.out)
end

-- What was emitted to a stream, in order.
function Replayed:emitted(stream)
  local list = {}
  for _, line in ipairs(self:lines()) do
    if line.emit and line.emit.stream == stream then
      list[#list + 1] = line.emit.event
    end
  end
  return list
end

-- The last words of each RPUSH to a list, in order.
function Replayed:pushed(key)
  local list = {}
  for _, line in ipairs(self:lines()) do
    local c = line.command
    if c and c[1] == "RPUSH" and c[2] == key then
      list[#list + 1] = c[3]
    end
  end
  return list
end

local function letter(fields)
  return { rule = fields.rule, reason = fields.reason, message = fields.message, key = fields.key, id = fields.id,
    stream = fields.stream, timer = fields.timer, window = fields.window }
end

-- Its dead letters, in order.
function Replayed:letters()
  local list = {}
  for _, line in ipairs(self:lines()) do
    if line.letter then
      list[#list + 1] = letter { rule = line.rule, reason = line.letter.reason, message = line.letter.message, key = line.key,
        id = line.id, stream = line.stream or "", timer = line.timer, window = line.window }
    end
  end
  return list
end

-- Those of a live engine, as letters() has them. Letters of one batch may stand in another order than their entries.
function replay.letters_of(e, tag)
  local list = {}
  for i, fields in ipairs(e:letters(tag)) do
    list[i] = letter(fields)
  end
  return list
end

-- A list in an order that does not depend on when each came about.
function replay.sorted(letters)
  local function text(l)
    return table.concat({ l.stream, ("%30s"):format(l.id), l.rule, l.timer or "", l.window or "", l.key }, "\0")
  end
  table.sort(letters, function(a, b) return text(a) < text(b) end)
  return letters
end

return replay
