-- embed.lua: writes files as one C file, for the binary to carry:
--
--   luajit scripts/embed.lua modules ROOT FILE... > modules.c      the runtime's Lua (sandbox/modules.h)
--   luajit scripts/embed.lua init ROOT FILE... > init_files.c      what `tidemill init` makes (cli/init_files.h)
--
-- Names are those of the files below ROOT; modules are named as they are required. A syntax error in Lua stops the build here.
local kind, root = arg[1], arg[2]

local KINDS = {
  modules = {
    header = "sandbox/modules.h", list = "const struct module modules[]", count = "const size_t module_count",
    row = function(name, path) return ('"%s", "@%s"'):format(name:gsub("%.lua$", ""):gsub("/", "."), path) end,
  },
  init = {
    header = "cli/init_files.h", list = "const struct init_file init_files[]", count = "const size_t init_file_count",
    row = function(name) return ('"%s"'):format(name) end,
  },
}

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  if path:find "%.lua$" then assert(loadstring(text, "@" .. path)) end
  return text
end

local function write_bytes(name, text)
  io.write(("static const unsigned char %s[] = {"):format(name))
  for i = 1, #text do
    if i % 32 == 1 then io.write "\n" end
    io.write(text:byte(i), ",")
  end
  print "0};\n"
end

local this = assert(KINDS[kind], "usage: luajit scripts/embed.lua modules|init ROOT FILE...")
local rows = {}
print(('#include "%s"\n'):format(this.header))
for n = 3, #arg do
  local path = arg[n]
  local text = read(path)
  write_bytes("file_" .. n, text)
  rows[#rows + 1] = ("    {%s, (const char *)file_%d, %d},"):format(this.row(path:sub(#root + 2), path), n, #text)
end
print(("%s = {\n%s\n};\n%s = %d;"):format(this.list, table.concat(rows, "\n"), this.count, #rows))
