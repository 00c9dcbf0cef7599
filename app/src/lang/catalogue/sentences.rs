//! The sentences of the engine: answers to commands, alerts, troubles, refusals. `{}` is a gap; the Chinese numbers them.

/// A sentence in English and Chinese.
pub(super) type Sentence = (&'static str, &'static str);

/// Every sentence.
pub(super) fn all() -> impl Iterator<Item = &'static Sentence> {
    [
        ANSWERS,
        ALERTS,
        TROUBLES,
        DISK,
        MEMORY,
        CONFIGURATION,
        DATA,
        RUNS,
    ]
    .into_iter()
    .flatten()
}

/// Answers to commands.
#[rustfmt::skip]
static ANSWERS: &[Sentence] = &[
    ("{} is written", "{0} 已写入"),
    ("evaluated", "已评估"),
    ("there is no validation data ({})", "没有验证数据 ({0})"),
    ("sampled", "已生成样本"),
    ("stops after step {}", "第 {0} 步后停止"),
    ("the next steps are timed", "开始测量接下来的几步"),
    ("steps are being timed already", "已在测量"),
    ("the data came without a tokenizer, so there is no text to read or write", "数据不带分词器, 无法读写文字"),
    ("layer {}, head {}: {} tokens", "第 {0} 层, 第 {1} 头: {2} 个 token"),
    ("the prompt has {} tokens; a map needs 1 to {}", "提示有 {0} 个 token; 注意力图需要 1 到 {1} 个"),
    ("there is no layer {} with a head {}: the model has {} layers of {} heads, counted from 0", "没有第 {0} 层第 {1} 头: 模型有 {2} 层, 每层 {3} 头, 从 0 数起"),
    ("the model's attention is not finite", "模型的注意力不是有限值"),
    ("weights are copied for a chat in the process that trains only; write a checkpoint and chat with that", "只有训练所在的进程可以复制权重; 请保存检查点再与它对话"),
    ("the weights of step {} are copied, {} MiB in {} s", "第 {0} 步的权重已复制, {1} MiB, 用时 {2} s"),
    ("training is paused already", "训练已经暂停"),
    ("training is not paused", "训练没有暂停"),
    ("paused after step {}", "第 {0} 步后暂停"),
    ("{}, and the memory is given back", "{0}, 内存已释放"),
    ("goes on with step {}", "从第 {0} 步继续"),
    ("training cannot go on yet, and stays paused: {}", "训练暂时无法继续, 保持暂停: {0}"),
    ("the checkpoint of this step is on the disk already", "这一步的检查点已在磁盘上"),
    ("the memory of the run is given back while it is paused; resume it first", "暂停期间内存已释放; 请先继续训练"),
    ("the memory is kept, as there is no checkpoint to go on from: {}", "没有可供继续的检查点, 内存不释放: {0}"),
    ("there is no checkpoint yet", "尚无检查点"),
    ("there is no checkpoint of step {}", "没有第 {0} 步的检查点"),
    ("there is none yet", "尚无任何检查点"),
    ("there are those of {}", "现有 {0}"),
    ("went back to the checkpoint of step {}", "已回到第 {0} 步的检查点"),
    ("nothing has changed", "没有改动"),
    ("{} applied", "{0} 已生效"),
    ("{} will be applied at the next pause or checkpoint", "{0} 将在下次暂停或存档时生效"),
    ("the file decides {} again", "{0} 重新由文件决定"),
    ("{} cannot change in a run that is on: start a new one", "训练中不能修改 {0}: 需新建训练"),
    ("this screen looks on only", "本界面只能旁观"),
    ("this connection looks on only: attach without --read-only", "此连接只能旁观: 接入时不要加 --read-only"),
    ("the engine has too many commands waiting; try again", "等待引擎的命令太多; 请重试"),
    ("the engine has too many commands waiting", "等待引擎的命令太多"),
    ("the engine is gone", "引擎已不在"),
    ("the run is over", "训练已结束"),
    ("this run belongs to another user", "此训练属于其他用户"),
    ("too many connections; try again", "连接太多; 请重试"),
    ("another terminal is attached and controls this run: leave there, or look on with --read-only", "已有另一个终端接入并控制此训练: 请在那里离开, 或加 --read-only 旁观"),
];

/// What the watchers say.
#[rustfmt::skip]
static ALERTS: &[Sentence] = &[
    ("the loss of step {} is {}, {} times the median {} of the {} before it", "第 {0} 步的 loss 为 {1}, 是之前 {4} 步中位数 {3} 的 {2} 倍"),
    ("the loss does not fall: its mean over {} steps is {}, over those before it was {}", "loss 不再下降: 最近 {0} 步平均 {1}, 之前为 {2}"),
    ("the smoothed loss at step {} is {}; its minimum was {}", "第 {0} 步的平滑 loss 为 {1}; 其最小值曾为 {2}"),
    ("the validation loss rose {} times in a row, to {}; its minimum was {}", "验证 loss 连续上升 {0} 次, 到 {1}; 其最小值曾为 {2}"),
    ("{} % of the units of {} give the same at every token at step {}", "第 {2} 步, {1} 有 {0} % 的单元对每个 token 输出相同"),
    ("the gradient of {} {} at step {}: rms {}, {} is {}", "第 {2} 步, {0} 的梯度{1}: rms {3}, {4}为 {5}"),
    ("vanishes", "消失"),
    ("explodes", "爆炸"),
    ("its own median", "自身中位数"),
    ("the layers' median", "各层中位数"),
    ("{} (and {} more layers)", "{0} (另有 {1} 层)"),
    ("training is slow: {} tokens/s at step {}, {} steps in a row below {} (median {})", "训练变慢: 第 {1} 步 {0} token/s, 连续 {2} 步低于 {3} (中位数 {4})"),
    ("the disk has room for {} more checkpoints after step {}: {} MiB are free, each takes {} MiB", "第 {1} 步后磁盘还可容纳 {0} 个检查点: 空闲 {2} MiB, 每个 {3} MiB"),
    ("{} of step {} is not finite", "第 {1} 步的 {0} 不是有限值"),
    ("no rollback: {}", "未回退: {0}"),
    ("there were three already", "已回退过三次"),
    ("this was the last step", "这是最后一步"),
    ("the rows of step {} are not kept: {}", "第 {0} 步的数据行未保存: {1}"),
    ("the rows of step {} cannot be read: {}", "第 {0} 步的数据行无法读取: {1}"),
];

/// Warnings and failures.
#[rustfmt::skip]
static TROUBLES: &[Sentence] = &[
    ("the engine ended without a word; see engine.log in the run's folder", "引擎意外终止; 见训练文件夹中的 engine.log"),
    ("the engine failed: {}", "引擎出错: {0}"),
    ("training waits for room on the disk", "训练等待磁盘腾出空间"),
    ("no checkpoint of step {}: {}", "没有写成第 {0} 步的检查点: {1}"),
    ("there is nothing to save: no step is done yet", "没有可保存的: 还没有完成任何一步"),
    ("{} is written, and could not be tagged: {}", "{0} 已写入, 但无法加标签: {1}"),
    ("old checkpoints could not be deleted: {}", "较旧的检查点无法删除: {0}"),
    ("no samples: {}", "没有样本: {0}"),
    ("{} is not obeyed, as it cannot be removed: {}", "未执行 {0}, 因为无法删除它: {1}"),
    ("attach and ctl cannot reach this run: {}", "attach 与 ctl 无法连到此训练: {0}"),
    ("{} bad lines of data.train are skipped (data.on_bad_line = \"skip\")", "已跳过 data.train 的 {0} 个坏行 (data.on_bad_line = \"skip\")"),
    ("kernels are compiled in their portable form ({})", "核以可移植形式编译 ({0})"),
    ("no event file is written: {}", "没有写事件文件: {0}"),
    ("{} is not served: {}", "{0} 未提供服务: {1}"),
    ("the system gives no thread: {}", "系统无法创建线程: {0}"),
    ("{}: end what else uses the device, or lower train.micro_batch, and go on with --resume", "{0}: 请结束占用设备的其他程序, 或调小 train.micro_batch, 再用 --resume 继续"),
    ("out of device memory: {} bytes wanted, {} free", "设备内存不足: 需要 {0} 字节, 空闲 {1}"),
    ("the device failed: {}", "设备出错: {0}"),
    ("{} does not compile for {}: {}", "{0} 无法为 {1} 编译: {2}"),
    ("stopped while kernels were compiled", "编译核时停止"),
    ("{} was not sent: {}", "{0} 未能发出: {1}"),
    ("the screen failed while drawing", "画屏时出错"),
];

/// Checkpoints and run folders on the disk.
#[rustfmt::skip]
static DISK: &[Sentence] = &[
    ("no room on the disk ({}); free some space, earlier checkpoints are intact", "磁盘空间不足 ({0}); 请腾出空间, 先前的检查点完好"),
    ("no room on the disk ({}); free some space and go on", "磁盘空间不足 ({0}); 请腾出空间再继续"),
    ("cannot {}: {}", "无法{0}: {1}"),
    ("earlier checkpoints are intact", "先前的检查点完好"),
    ("make the folder", "建立文件夹"),
    ("make the file", "建立文件"),
    ("rename the finished folder", "给写好的文件夹改名"),
    ("sync the folder", "同步文件夹"),
    ("read the folder", "读取文件夹"),
    ("clean the folder", "清理文件夹"),
    ("move the folder", "移动文件夹"),
    ("delete the folder", "删除文件夹"),
    ("this checkpoint exists already and is not overwritten", "此检查点已存在, 不会覆盖"),
    ("checkpoint of step {}: {}", "第 {0} 步的检查点: {1}"),
    ("not a valid checkpoint: {}", "不是有效的检查点: {0}"),
    ("its trainer state is of step {}, its manifest of step {}", "训练状态属于第 {0} 步, 清单属于第 {1} 步"),
    ("{} is not valid: {}", "{0} 无效: {1}"),
    ("it has schema {}, this program reads up to {}; use a newer zerollm", "其格式版本为 {0}, 本程序只读到 {1}; 请用更新的 zerollm"),
    ("its manifest is of step {}", "其清单属于第 {0} 步"),
    ("its manifest does not list {}", "其清单没有列出 {0}"),
    ("{} in its manifest is no file name", "其清单中的 {0} 不是文件名"),
    ("{} is not a file", "{0} 不是文件"),
    ("{} is not what was written (its hash differs)", "{0} 与写入时不同 (哈希不符)"),
    ("it is not a trainer state (or is cut short)", "不是训练状态 (或不完整)"),
    ("it is damaged (its checksum differs)", "已损坏 (校验和不符)"),
    ("it has version {}, this program reads up to {}; use a newer zerollm", "其版本为 {0}, 本程序只读到 {1}; 请用更新的 zerollm"),
    ("it cannot be decoded: {}", "无法解码: {0}"),
    ("run name {}: {}", "运行名称 {0}: {1}"),
    ("run {} exists already ({}); --resume continues it, another --run starts a new one", "运行 {0} 已存在 ({1}); --resume 可继续它, 换一个 --run 则新建"),
    ("no run {} in {}; `zerollm runs` lists those there are", "{1} 中没有运行 {0}; `zerollm runs` 列出现有的"),
    ("run {} is in use by {}: stop it first (SIGINT ends it with a checkpoint)", "运行 {0} 正被{1}使用: 请先停止它 (SIGINT 会保存检查点后结束)"),
    ("another process", "另一个进程"),
    ("process {}", "进程 {0} "),
];

/// Memory.
#[rustfmt::skip]
static MEMORY: &[Sentence] = &[
    ("{} needs {} MiB of memory, {} MiB are free", "{0}需要 {1} MiB 内存, 空闲 {2} MiB"),
    ("a chat", "对话"),
    ("the cache of keys and values", "键值缓存"),
    ("training needs {} MiB of memory, {} MiB are free: lower train.micro_batch or set train.recompute = true", "训练需要 {0} MiB 内存, 空闲 {1} MiB: 请调小 train.micro_batch 或设 train.recompute = true"),
    ("training needs {} MiB on {}, {} MiB are free: {}", "训练在 {1} 上需要 {0} MiB, 空闲 {2} MiB: {3}"),
    ("no micro-batch fits, even recomputed in bf16: take a smaller model or sequence_length", "即使用 bf16 并重新计算, 也放不下任何微批: 请用更小的模型或 sequence_length"),
    ("{} would take {} MiB", "{0} 需要 {1} MiB"),
    ("the text is longer than the {} tokens that the model can read", "文字超过模型能读的 {0} 个 token"),
];

/// Refusals of a configuration.
#[rustfmt::skip]
static CONFIGURATION: &[Sentence] = &[
    ("configuration", "配置"),
    ("expected {}, found {}", "应为 {0}, 却是 {1}"),
    ("expected {}", "应为 {0}"),
    ("{} (write {})", "{0} (请写 {1})"),
    ("a date", "日期"),
    ("a list", "列表"),
    ("a table", "表"),
    ("did you mean {}?", "是否想写 {0}?"),
    ("there is no key {}", "没有配置项 {0}"),
    ("unknown key", "未知的配置项"),
    ("unknown table", "未知的表"),
    ("the tables are {}", "现有的表: {0}"),
    ("--help-config lists every key", "--help-config 列出全部配置项"),
    ("[{}] has {}", "[{0}] 有 {1}"),
    ("no key of kind {}, which has {}", "不是 {0} 的配置项, 它有 {1}"),
    ("not valid TOML: {}", "不是有效的 TOML: {0}"),
    ("not a key: {}", "不是配置项: {0}"),
    ("expected key=value, such as optimizer.lr=3e-4", "应为 key=value, 例如 optimizer.lr=3e-4"),
    ("expected a table, such as {}", "应为表, 例如 {0}"),
    ("expected a path, found an empty or unusable text", "应为路径, 却是空的或不可用的文字"),
    ("cannot resolve the path {}: {}", "无法解析路径 {0}: {1}"),
    ("{} cannot name a folder; use letters, digits, - and _", "{0} 不能作文件夹名; 请用字母, 数字, - 与 _"),
    ("auto, cpu, cuda, cuda:N, rocm, rocm:N or emulated", "auto, cpu, cuda, cuda:N, rocm, rocm:N 或 emulated"),
    ("an address and port of this machine alone, such as 127.0.0.1:9464 or [::1]:9464", "本机的地址与端口, 例如 127.0.0.1:9464 或 [::1]:9464"),
    ("a text that is not empty; remove the key", "非空的文字; 不用请删去此项"),
    ("{} heads do not divide dim {}; change one of them or set model.head_dim", "{0} 个头不能整除 dim {1}; 请修改其一或设 model.head_dim"),
    ("{} key-value heads do not divide {} heads", "{0} 个键值头不能整除 {1} 个头"),
    ("data.sequence_length {} is longer than model.max_positions {}", "data.sequence_length {0} 大于 model.max_positions {1}"),
    ("two numbers from 0 to below 1, such as [0.9, 0.95]", "两个 [0, 1) 内的数, 例如 [0.9, 0.95]"),
    ("must be below 1", "须小于 1"),
    ("must be above 0; 1 is off", "须大于 0; 1 为关闭"),
    ("needs optimizer.momentum above 0", "需要 optimizer.momentum 大于 0"),
    ("min_lr {} is above optimizer.lr {}", "min_lr {0} 大于 optimizer.lr {1}"),
    ("micro_batch {} is more than train.batch_size {}", "micro_batch {0} 大于 train.batch_size {1}"),
    ("https is not spoken here: set watch.command = {} in its place", "不支持 https: 请改用 watch.command = {0}"),
    ("an address such as http://127.0.0.1:8080/path", "形如 http://127.0.0.1:8080/path 的地址"),
    ("an address holds neither spaces nor other than ASCII; write such as %20", "地址不含空格与非 ASCII 字符; 请写作 %20 之类"),
    ("a password in the address is not sent: use watch.command with curl", "地址中的密码不会发送: 请用 watch.command 调用 curl"),
    ("it is not there any more, so nothing is written", "它已不在, 未写入"),
    ("it is no file any more, so nothing is written", "它已不是文件, 未写入"),
    ("it is another user's, so nothing is written", "它属于其他用户, 未写入"),
    ("cannot be read", "无法读取"),
    ("a table is missing", "缺少一个表"),
    ("{} is no table in this file", "此文件中 {0} 不是表"),
];

/// Data.
#[rustfmt::skip]
static DATA: &[Sentence] = &[
    ("no such file; check {}", "没有这个文件; 请检查 {0}"),
    ("no file matches this pattern; check {}", "没有文件匹配此通配符; 请检查 {0}"),
    ("cannot be read: {}", "无法读取: {0}"),
    ("holds no text; take it out of the list", "没有文字; 请从列表中去掉"),
    ("reading the data was interrupted", "读取数据被中断"),
    ("{} was trained on other data: bring back the files of data.train as they were, or start a new run", "{0} 用的是别的数据: 请恢复 data.train 的文件, 或新建训练"),
    ("this is a file; name the folder of the model (with config.json and model.safetensors)", "这是文件; 请给出模型的文件夹 (含 config.json 与 model.safetensors)"),
    ("there is no such folder", "没有这个文件夹"),
    ("no config.json in it, so it is no model's folder", "其中没有 config.json, 不是模型的文件夹"),
    ("{}: nothing can be said to this model; zerollm generate --tokens takes ids", "{0}: 无法与此模型对话; zerollm generate --tokens 接受 id"),
    ("it has no tokenizer.json", "没有 tokenizer.json"),
    ("the chat has ended without a word", "对话意外终止"),
];

/// Forks, and the folder of runs.
#[rustfmt::skip]
static RUNS: &[Sentence] = &[
    ("a fork of {}", "{0} 的分叉"),
    ("nothing changes: it trains as its parent did", "没有改动: 与父训练完全相同"),
    ("{} = {} (the parent: {})", "{0} = {1} (父训练: {2})"),
    ("had none", "无"),
    ("the optimizer is of another kind: its state starts empty", "优化器种类不同: 其状态从空开始"),
    ("it is at its end: train.max_steps = {}", "已到终点: train.max_steps = {0}"),
    ("{} steps are left to train.max_steps = {}", "到 train.max_steps = {1} 还有 {0} 步"),
    ("a fork keeps the model and the tokenizer of {}, where {} is {}: {} needs a new run (model.init_from takes its weights)", "分叉沿用 {0} 的模型与分词器, 其 {1} 为 {2}: 改为 {3} 需新建训练 (model.init_from 可取其权重)"),
    ("it is in {}; zerollm train --run {} --resume begins it", "位于 {0}; zerollm train --run {1} --resume 开始训练"),
    ("{} is tagged", "{0} 已加标签"),
    ("{} is noted", "{0} 已加备注"),
    ("moved to {}", "已移至 {0}"),
    ("{} is deleted", "{0} 已删除"),
    ("there is nothing to copy yet", "还没有可复制的内容"),
    ("{} steps are more than a terminal takes: zoom in, or use zerollm metric", "{0} 步超出终端的容量: 请放大, 或用 zerollm metric"),
    ("{} (at character {} of {})", "{0} ({2} 的第 {1} 个字符)"),
    ("expected {} behind {}", "{1} 之后应为 {0}"),
    ("more than {} levels are nested", "嵌套超过 {0} 层"),
    ("no bracket is open here", "此处没有左括号"),
    ("this quotation is not closed", "引号没有闭合"),
    ("a key, such as val_loss or optimizer.lr", "键, 例如 val_loss 或 optimizer.lr"),
    ("a number or a text", "数或文字"),
    ("no key `{}`; did you mean {}?", "没有键 `{0}`; 是否想写 {1}?"),
    ("no key `{}`; there are {} and those of the configuration", "没有键 `{0}`; 有 {1} 以及配置项"),
];
