"""The words that the deterministic fold knows: Chinese words with their English, by category.

Each category is one text of entries `中文/同义词=english`, separated by semicolons. A noun that is
counted carries its article ("a cat"), one that is not goes without ("grass"). The English side
doubles as the fold's English vocabulary: `category("foxes")` is "animal".
"""

# ruff: noqa: E501 (word lists and patterns read best in wide lines)

from __future__ import annotations

from functools import cache

ENTRIES: dict[str, str] = {
    "colour": """
        红色/红/大红/鲜红=red; 橙色/橘色/橘红色/橙/橘=orange; 黄色/黄/鹅黄=yellow; 绿色/绿/翠绿/草绿=green; 青色/青=cyan;
        蓝色/蓝/湛蓝/蔚蓝=blue; 紫色/紫=purple; 粉色/粉红色/粉红/粉=pink; 黑色/黑/漆黑=black; 白色/白/雪白/洁白=white;
        灰色/灰=grey; 棕色/褐色/咖啡色/棕=brown; 金色/金黄色/金黄=golden; 银色/银白色=silver; 米色/米黄色=beige;
        天蓝色/天蓝=sky blue; 浅蓝色/淡蓝色/浅蓝=light blue; 深蓝色/深蓝/藏青色=dark blue; 宝蓝色=royal blue;
        浅绿色/淡绿色/浅绿=light green; 深绿色/墨绿色/深绿=dark green; 薄荷绿=mint green; 淡紫色/浅紫色=lavender;
        深红色/暗红色/酒红色=dark red; 浅粉色/淡粉色=light pink; 彩色/五彩/五颜六色/多彩=colourful; 彩虹色=rainbow-coloured;
        透明=transparent; 红白相间=red and white; 玫瑰金=rose gold; 古铜色=bronze; 青绿色/青蓝色=teal
    """,
    "adjective": """
        鲜艳=vivid; 暗色=dark; 浅色=light-coloured; 深色=dark-coloured; 大/巨型=big; 小/小小=small; 巨大=huge; 微小/迷你=tiny; 高/高高/高大/高耸=tall; 矮=short; 长/长长=long; 短=short;
        胖/胖胖/胖乎乎=chubby; 瘦=thin; 圆/圆圆/圆形=round; 方形=square; 老/年老/年迈/老年=old; 年轻/年青=young;
        旧/破旧=shabby; 新/崭新=new; 古老/古代/古=ancient; 古典=classical; 传统=traditional; 现代/现代化=modern; 未来/未来感=futuristic;
        复古/老式=vintage; 美丽/漂亮/美/好看/优美=beautiful; 可爱/萌/呆萌=cute; 帅/帅气/英俊=handsome; 丑/丑陋=ugly;
        快乐/开心/高兴/欢乐=happy; 悲伤/伤心/忧伤/难过=sad; 生气/愤怒=angry; 孤独/孤单/寂寞=lonely; 害怕=scared; 惊讶=surprised;
        安静/宁静/静谧/平静/静静=quiet; 热闹/繁华/喧闹=busy; 拥挤=crowded; 空荡荡/空旷/空空=empty; 荒凉=desolate; 废弃=abandoned;
        神秘=mysterious; 梦幻=dreamy; 魔幻/奇幻=fantasy; 浪漫=romantic; 温馨/温暖/暖/舒适=cosy; 寒冷/冷/冰冷=cold; 热/热腾腾/冒着热气=steaming;
        明亮/亮/亮堂=bright; 黑暗/昏暗/暗/阴暗=dark; 清澈=clear; 清新=fresh; 柔和/柔软=soft; 毛茸茸=fluffy; 光滑=smooth;
        茂密/浓密=dense; 干净=clean; 脏=dirty; 华丽/豪华=luxurious; 简单/简约/极简=minimalist; 精致/精美=delicate; 细致/精细=detailed;
        写实/逼真/真实=realistic; 抽象=abstract; 可怕/恐怖/吓人=scary; 威武/雄伟/壮观/宏伟=majestic; 勇敢=brave; 优雅=elegant;
        强壮=strong; 凶猛=fierce; 飞翔=flying; 发光/闪光/闪闪发光/闪耀=glowing; 盛开/绽放=blooming; 茂盛=lush; 美味/好吃=delicious;
        新鲜=fresh; 甜=sweet; 干枯=withered; 破碎=broken; 弯弯/弯曲=curved; 晴朗=clear; 湿漉漉/湿=wet; 满满=full; 活泼=lively;
        慵懒/懒洋洋=lazy; 聪明=clever; 顽皮/调皮=playful; 性感=sexy; 酷/炫酷=cool; 奇怪=strange; 丰富=rich; 立体=three-dimensional;
        悠闲=leisurely; 凌乱=messy; 高级=refined; 史诗/史诗感=epic; 戏剧性=dramatic; 唯美=aesthetic; 双/成对=paired; 国产=Chinese; 中国=Chinese;
        中式=Chinese-style; 日本/日式=Japanese; 欧式/欧洲=European; 法国/法式=French; 英国/英式=British; 美国/美式=American; 长发=long-haired; 短发=short-haired
    """,
    "person": """
        人/人物=a person; 人们/人群/行人/路人/游客/众人=people; 男人/男子/男士/男的=a man; 女人/女子/女士/女的=a woman;
        男孩/小男孩/男生/少年=a boy; 女孩/小女孩/女生/少女/姑娘/小姑娘/妹子=a girl; 孩子/小孩/儿童/小朋友=a child; 孩子们=children;
        婴儿/宝宝=a baby; 老人/老人家=an old person; 老爷爷/爷爷/老头/老汉=an old man; 老奶奶/奶奶/老太太=an old woman;
        美女=a beautiful woman; 帅哥=a handsome man; 妈妈/母亲=a mother; 爸爸/父亲=a father; 情侣/恋人/夫妻=a couple; 家人/一家人=a family; 朋友=a friend;
        国王=a king; 女王/王后/皇后=a queen; 皇帝=an emperor; 王子=a prince; 公主=a princess; 骑士=a knight; 武士=a samurai; 忍者=a ninja; 战士/勇士=a warrior;
        士兵/军人=a soldier; 将军=a general; 侠客/剑客/大侠=a swordsman; 巫师/法师/魔法师=a wizard; 女巫=a witch; 仙女=a fairy; 精灵=an elf; 天使=an angel;
        恶魔/魔鬼=a demon; 鬼/幽灵=a ghost; 僵尸=a zombie; 吸血鬼=a vampire; 美人鱼/人鱼=a mermaid; 机器人=a robot; 宇航员/航天员=an astronaut; 外星人=an alien;
        海盗=a pirate; 牛仔=a cowboy; 侦探=a detective; 警察=a police officer; 消防员=a firefighter; 医生=a doctor; 护士=a nurse; 老师/教师=a teacher;
        学生=a student; 科学家=a scientist; 程序员=a programmer; 厨师=a chef; 农民/农夫=a farmer; 渔夫/渔民=a fisherman; 画家=a painter; 歌手=a singer;
        音乐家=a musician; 舞者/舞蹈家=a dancer; 芭蕾舞者=a ballerina; 运动员=an athlete; 排球运动员=volleyball players; 篮球运动员=a basketball player; 歌星=a pop star; 乐队=a band; 古装美女=a woman in ancient Chinese dress; 小哥哥=a young man; 小姐姐=a young woman; 大叔=a middle-aged man; 阿姨=a middle-aged woman; 双胞胎=twins; 小精灵=a little elf; 龙骑士=a dragon rider; 武林高手=a martial arts master; 嫦娥=the goddess Chang'e; 女神=a goddess; 神=a god; 足球运动员=a football player; 和尚/僧人=a monk; 道士=a Taoist priest;
        诗人/李白=a poet; 新娘=a bride; 新郎=a groom; 模特=a model; 小丑=a clown; 圣诞老人=Santa Claus; 超级英雄/超人=a superhero; 孙悟空/悟空=the Monkey King; 雪人=a snowman
    """,
    "animal": """
        动物/小动物=an animal; 猫/猫咪/喵/喵星人=a cat; 小猫/小猫咪/幼猫=a kitten; 橘猫/橘色猫=an orange cat; 黑猫=a black cat; 白猫=a white cat;
        布偶猫=a ragdoll cat; 波斯猫=a Persian cat; 英短=a British shorthair cat; 狗/狗狗/犬=a dog; 小狗/小狗狗/幼犬=a puppy; 柴犬=a shiba inu; 柯基=a corgi;
        金毛/金毛犬=a golden retriever; 哈士奇/二哈=a husky; 泰迪/贵宾犬=a poodle; 狐狸=a fox; 小狐狸=a little fox; 狼=a wolf; 老虎/虎/小老虎=a tiger; 狮子/狮=a lion;
        豹子/豹=a leopard; 雪豹=a snow leopard; 猎豹=a cheetah; 熊/狗熊=a bear; 北极熊=a polar bear; 熊猫/大熊猫=a panda; 小熊=a bear cub; 小熊猫=a red panda;
        兔子/兔/小兔子/小白兔=a rabbit; 松鼠=a squirrel; 老鼠/鼠=a mouse; 仓鼠=a hamster; 刺猬=a hedgehog; 猴子/猴=a monkey; 大猩猩/猩猩=a gorilla; 大象/象/小象=an elephant;
        长颈鹿=a giraffe; 斑马=a zebra; 河马=a hippo; 犀牛=a rhino; 骆驼=a camel; 袋鼠=a kangaroo; 考拉/树袋熊=a koala; 马/骏马=a horse; 白马=a white horse; 独角兽=a unicorn;
        驴=a donkey; 牛=a cow; 奶牛/母牛=a cow; 水牛=a water buffalo; 羊/山羊=a goat; 绵羊/小羊/羊羔=a sheep; 羊驼=an alpaca; 猪/小猪=a pig; 鹿/小鹿=a deer; 麋鹿/驯鹿=a reindeer;
        鸟/小鸟/鸟儿=a bird; 飞鸟=flying birds; 海鸥=seagulls; 老鹰/鹰/雄鹰=an eagle; 猫头鹰=an owl; 孔雀=a peacock; 鹦鹉=a parrot; 乌鸦=a crow; 喜鹊=a magpie; 麻雀=a sparrow;
        燕子=a swallow; 鸽子/白鸽=a dove; 天鹅=a swan; 鹅=a goose; 鸭子/鸭=a duck; 小鸭子/小黄鸭=a duckling; 鸡=a chicken; 公鸡=a rooster; 小鸡=a chick; 仙鹤/鹤/丹顶鹤=a crane; 凤凰=a phoenix; 企鹅=a penguin;
        鱼/小鱼=a fish; 金鱼=a goldfish; 锦鲤/鲤鱼=koi fish; 鲸鱼/鲸/蓝鲸=a whale; 鲨鱼=a shark; 海豚=a dolphin; 水母=a jellyfish; 章鱼=an octopus; 螃蟹=a crab; 虾=a shrimp; 乌龟/海龟/龟=a turtle;
        青蛙/蛙=a frog; 蛇=a snake; 蜥蜴=a lizard; 鳄鱼=a crocodile; 恐龙=a dinosaur; 霸王龙=a tyrannosaurus dinosaur; 龙/巨龙/飞龙=a dragon; 中国龙=a Chinese dragon; 怪兽/怪物=a monster;
        蝴蝶=a butterfly; 蜜蜂=a bee; 蜻蜓=a dragonfly; 萤火虫=fireflies; 蝙蝠=bats; 蚂蚁=an ant; 猫猫=a cat; 羊羊=a sheep; 章鱼怪=a kraken; 海狮=a sea lion; 海豹=a seal; 水獭=an otter; 浣熊=a raccoon; 鸵鸟=an ostrich; 火烈鸟=a flamingo; 鹦哥=a parrot; 蝎子=a scorpion; 毛毛虫=a caterpillar; 瓢虫=a ladybug; 蜘蛛=a spider; 蜗牛=a snail; 虫子/昆虫=an insect
    """,
    "plant": """
        树/大树/树木=a tree; 小树=a small tree; 松树=a pine tree; 柳树/垂柳=a willow tree; 樱花树=a cherry blossom tree; 棕榈树=palm trees; 椰子树/椰树=palm trees; 银杏/银杏树=a ginkgo tree;
        枫树=a maple tree; 枫叶=maple leaves; 竹子=bamboo; 竹林=a bamboo forest; 树叶/叶子=leaves; 落叶=fallen leaves; 树枝=a branch; 花/花朵/鲜花/小花=flowers; 野花=wildflowers; 花丛=a flower bed; 花海=a sea of flowers;
        花瓣=petals; 玫瑰/玫瑰花=roses; 樱花=cherry blossoms; 桃花=peach blossoms; 梅花=plum blossoms; 荷花/莲花=lotus flowers; 荷叶=lotus leaves; 牡丹=peonies; 菊花=chrysanthemums; 兰花=orchids; 百合=lilies;
        郁金香=tulips; 向日葵=sunflowers; 薰衣草=lavender flowers; 雏菊=daisies; 蒲公英=dandelions; 草/青草/小草=grass; 苔藓=moss; 藤蔓=vines; 仙人掌=a cactus; 蘑菇=mushrooms; 植物=plants; 麦子/小麦=wheat; 稻田/水稻=rice fields; 芦苇=reeds; 盆栽=a potted plant
    """,
    "food": """
        食物/美食=food; 蛋糕=a cake; 生日蛋糕=a birthday cake; 面包=bread; 饼干=cookies; 巧克力=chocolate; 糖果=candy; 冰淇淋/冰激凌/雪糕=ice cream; 甜点=a dessert; 披萨/比萨=a pizza; 汉堡/汉堡包=a hamburger; 薯条=french fries;
        面条/面=noodles; 拉面=ramen; 米饭=rice; 饺子=dumplings; 包子=steamed buns; 火锅=a hot pot; 烤鸭=roast duck; 寿司=sushi; 牛排=a steak; 烧烤=a barbecue; 沙拉=a salad; 汤=soup; 鸡蛋/蛋=an egg; 月饼=mooncakes; 粽子=rice dumplings; 豆腐=tofu;
        水果=fruit; 苹果=an apple; 香蕉=a banana; 橙子/橘子=an orange; 柠檬=a lemon; 草莓=strawberries; 葡萄=grapes; 西瓜=a watermelon; 桃子=a peach; 樱桃=cherries; 菠萝=a pineapple; 芒果=a mango; 南瓜=a pumpkin; 胡萝卜=a carrot; 蔬菜=vegetables; 番茄/西红柿=tomatoes;
        咖啡=coffee; 茶/绿茶=tea; 牛奶=milk; 果汁=juice; 奶茶=bubble tea; 酒/红酒/葡萄酒=wine; 啤酒=beer; 蜂蜜=honey; 奶酪/芝士=cheese
    """,
    "clothing": """
        衣服=clothes; 裙子=a dress; 连衣裙/长裙=a dress; 红裙/红裙子=a red dress; 白裙/白裙子=a white dress; 短裙=a short skirt; 婚纱=a wedding dress; 旗袍=a cheongsam; 汉服=a hanfu; 和服=a kimono; 西装=a suit; 衬衫=a shirt; T恤=a T-shirt; 外套/夹克=a jacket;
        大衣/风衣=a coat; 毛衣=a sweater; 卫衣=a hoodie; 裤子=trousers; 牛仔裤=jeans; 短裤=shorts; 鞋子/鞋=shoes; 高跟鞋=high heels; 靴子=boots; 袜子=socks; 帽子=a hat; 草帽=a straw hat; 圣诞帽=a Santa hat; 礼帽=a top hat; 围巾=a scarf; 手套=gloves; 领带=a tie; 领结/蝴蝶结=a bow;
        眼镜=glasses; 墨镜/太阳镜/太阳眼镜=sunglasses; 面具=a mask; 口罩=a face mask; 皇冠/王冠=a crown; 项链=a necklace; 耳环=earrings; 戒指=a ring; 手表=a watch; 耳机=headphones; 盔甲/铠甲=armour; 斗篷/披风=a cloak; 校服=a school uniform; 制服=a uniform; 宇航服/太空服=a spacesuit; 翅膀=wings; 背包/书包=a backpack; 包/包包=a bag
    """,
    "body": """
        头=head; 头发=hair; 长头发=long hair; 短头发=short hair; 卷发=curly hair; 马尾/马尾辫=ponytail; 双马尾=twin tails; 脸/面部=face; 眼睛=eyes; 大眼睛=big eyes; 鼻子=nose; 嘴/嘴巴=mouth; 嘴唇=lips; 耳朵=ears; 胡子=a beard; 手=hand; 手臂=arms; 腿=legs; 脚=feet; 尾巴=tail; 毛发/毛=fur; 皮肤=skin; 身体=body; 表情=expression; 肩膀/肩=shoulder; 怀=arms; 背=back
    """,
    "object": """
        伞/雨伞=an umbrella; 红伞=a red umbrella; 油纸伞=an oil-paper umbrella; 灯/台灯=a lamp; 灯笼=a lantern; 红灯笼=a red lantern; 孔明灯=sky lanterns; 路灯=street lamps; 灯光=lights; 霓虹灯/霓虹=neon lights; 蜡烛=candles; 烛光=candlelight; 火/火焰=fire; 篝火=a campfire; 壁炉=a fireplace; 烟花/焰火=fireworks; 烟/烟雾=smoke;
        书/书本=a book; 笔/钢笔=a pen; 信=a letter; 报纸=a newspaper; 地图=a map; 桌子/餐桌/桌=a table; 书桌=a desk; 椅子=a chair; 长椅/长凳=a bench; 沙发=a sofa; 床=a bed; 枕头=a pillow; 毯子/地毯=a rug; 窗/窗户=a window; 窗台=a window sill; 窗帘=curtains; 门=a door; 墙=a wall; 楼梯/台阶=stairs; 书架=a bookshelf; 镜子=a mirror;
        钟/时钟=a clock; 杯子=a cup; 茶杯=a teacup; 茶壶=a teapot; 酒杯=a wine glass; 瓶子=a bottle; 花瓶=a vase; 碗=a bowl; 盘子=a plate; 筷子=chopsticks; 篮子=a basket; 盒子/箱子=a box; 礼物=a gift; 气球=balloons; 热气球=hot air balloons; 风筝=a kite; 玩具=toys; 娃娃=a doll; 泰迪熊/玩具熊=a teddy bear; 球=a ball; 足球=a football; 篮球=a basketball;
        钢琴=a piano; 吉他=a guitar; 小提琴=a violin; 笛子=a flute; 鼓=a drum; 古筝=a guzheng; 琵琶=a pipa lute; 二胡=an erhu; 琴=a zither; 小号=a trumpet; 萨克斯=a saxophone; 排球=a volleyball; 网球=a tennis ball; 乒乓球=a table tennis ball; 棋盘=a chessboard; 围棋=a Go board; 灯塔光=a beam of light; 火把=a torch; 锁链=chains; 沙漏=an hourglass; 望远镜=a telescope; 吊灯=a chandelier; 彩灯=fairy lights; 灯带=light strips; 鱼缸=a fish tank; 滑板=a skateboard; 冲浪板=a surfboard; 行李箱=a suitcase; 画框=a picture frame; 黑板=a blackboard; 铃铛=bells; 丝带=ribbons; 彩带=streamers; 面团=dough; 剑/宝剑=a sword; 刀=a knife; 弓箭/弓=a bow and arrow; 盾牌/盾=a shield; 枪=a gun; 魔杖/法杖=a magic wand; 水晶球=a crystal ball; 宝石=gems; 钻石=diamonds; 金币=gold coins; 宝箱=a treasure chest; 旗帜/旗子=a flag; 圣诞树=a Christmas tree; 鱼竿/钓鱼竿=a fishing rod;
        手机=a phone; 电脑=a computer; 笔记本电脑=a laptop; 电视=a television; 相机/照相机=a camera; 机器=a machine; 雕像/雕塑=a statue; 喷泉=a fountain; 秋千=a swing; 帐篷=a tent; 栅栏/篱笆=a fence; 石头=stones; 岩石=rocks; 贝壳=shells; 羽毛=feathers; 泡泡=bubbles; 骷髅=a skull; 钥匙=a key; 扇子=a fan; 鸟笼=a birdcage; 招牌=signs; 文字/字=text; 水印=watermark; 影子=shadow; 倒影=a reflection; 东西/物体=things
    """,
    "vehicle": """
        汽车/车/小汽车/轿车/车子/车辆=a car; 跑车=a sports car; 赛车=a racing car; 老爷车=a vintage car; 卡车/货车=a truck; 公交车/巴士/公共汽车=a bus; 出租车=a taxi; 摩托车/摩托=a motorcycle; 自行车/单车/脚踏车=a bicycle; 火车/列车=a train; 高铁=a high-speed train; 地铁=a subway train; 马车=a carriage;
        船/船只=a boat; 小船/小舟/扁舟=a small boat; 帆船=a sailboat; 轮船=a ship; 渔船=a fishing boat; 海盗船=a pirate ship; 飞机=an airplane; 直升机=a helicopter; 飞船/宇宙飞船/太空船=a spaceship; 火箭=a rocket; 飞碟=a UFO; 潜水艇/潜艇=a submarine; 坦克=a tank; 拖拉机=a tractor; 雪橇=a sleigh
    """,
    "building": """
        房子/房屋/屋子/小屋/小房子=a house; 木屋/小木屋=a wooden cabin; 别墅=a villa; 大楼/高楼/楼房/建筑/建筑物=a building; 高楼大厦/摩天大楼/摩天楼=skyscrapers; 公寓=an apartment; 城堡/古堡=a castle; 宫殿=a palace; 故宫/紫禁城=the Forbidden City; 塔=a tower; 宝塔=a pagoda; 灯塔=a lighthouse; 埃菲尔铁塔/铁塔=the Eiffel Tower; 东方明珠=the Oriental Pearl Tower;
        寺庙/寺/庙=a temple; 教堂=a church; 神社=a shrine; 金字塔=the pyramids; 长城/万里长城=the Great Wall; 桥/小桥/大桥=a bridge; 石桥=a stone bridge; 亭子/凉亭=a pavilion; 火车站/车站=a train station; 机场=an airport; 学校/校园=a school; 教室=a classroom; 图书馆=a library; 书店=a bookshop; 医院=a hospital; 餐厅/饭店/餐馆=a restaurant; 咖啡馆/咖啡厅/咖啡店=a café; 茶馆=a tea house; 酒吧=a bar;
        酒店=a hotel; 商店/店铺/小店=a shop; 市场/集市=a market; 夜市=a night market; 超市=a supermarket; 博物馆=a museum; 剧院=a theatre; 电影院=a cinema; 工厂=a factory; 谷仓=a barn; 风车=a windmill; 水车=a water wheel; 温室=a greenhouse; 废墟=ruins; 遗迹=ancient ruins; 房间=a room; 客厅=a living room; 卧室=a bedroom; 厨房=a kitchen; 浴室=a bathroom; 书房=a study; 阳台=a balcony; 屋顶=a rooftop; 院子/庭院=a courtyard; 空间站=a space station; 摩天轮=a Ferris wheel; 游乐园/游乐场=an amusement park
    """,
    "place": """
        海滩/沙滩/海边沙滩=a beach; 海边=the seaside; 海岸=the coast; 海/大海/海洋/海面=the sea; 海底/水下=the seabed; 海浪/浪花/波浪=waves; 岛/小岛/岛屿=an island; 湖/湖泊/湖水/湖面=a lake; 湖边=the lakeside; 河/河流/小河/江/河水=a river; 河边/江边=the riverside; 小溪/溪流=a stream; 瀑布=a waterfall; 池塘/水池/池=a pond; 荷花池=a lotus pond; 荷塘=a lotus pond; 喷水池=a fountain; 海湾=a bay; 湿地=a wetland; 竹海=a sea of bamboo; 梯田=terraced rice fields; 茶园=a tea plantation; 牧场=a pasture; 泳池/游泳池=a swimming pool; 水/水面=water; 温泉=a hot spring;
        山/高山/大山/山峰/群山=mountains; 小山/山丘/山坡=a hill; 雪山=snow-capped mountains; 富士山=Mount Fuji; 火山=a volcano; 悬崖=a cliff; 峡谷=a canyon; 山谷=a valley; 山洞/洞穴=a cave; 山顶=a mountain top; 山脚=the foot of a mountain; 山水=mountains and rivers; 山川=mountains and rivers; 沙漠=a desert; 沙丘=sand dunes; 草原/大草原=the grassland; 草地/草坪=grass; 田野/田地/田/农田=fields; 麦田=a wheat field; 花田=a flower field; 花园=a garden; 公园=a park; 果园=an orchard; 农场=a farm; 葡萄园=a vineyard;
        森林/树林/林子=a forest; 丛林/热带雨林/雨林=a jungle; 雪地=the snow; 冰川=a glacier; 冰面=the ice; 北极=the Arctic; 南极=Antarctica; 天空/天上/空中/天/天色=the sky; 蓝天=blue sky; 蓝天白云=blue sky with white clouds; 星空/夜空/繁星=a starry sky; 太空/宇宙/外太空=outer space; 银河=the Milky Way; 星系=a galaxy; 星球/行星=a planet; 地球=the Earth; 火星=Mars; 月球=the Moon; 云端=the clouds; 云海=a sea of clouds; 地面/地上=the ground;
        城市/都市=a city; 城市街道=a city street; 城镇/小镇/镇子=a town; 古镇=an ancient town; 村庄/村子/小村庄/乡村/农村=a village; 乡间=the countryside; 街道/街/大街/街头/街上/马路=a street; 小巷/巷子/胡同=an alley; 路/道路/公路=a road; 小路/小径=a path; 路边/街边=the roadside; 广场=a square; 港口/码头=a harbour; 天际线=a skyline; 夜景=night view; 风景/景色/景观=scenery; 背景=background; 仙境=a fairyland; 江南=Jiangnan; 江南水乡/水乡=a Jiangnan water town; 世外桃源=an idyllic land;
        中国城=Chinatown; 北京=Beijing; 上海=Shanghai; 外滩=the Bund; 香港=Hong Kong; 西藏=Tibet; 杭州=Hangzhou; 西湖=West Lake; 重庆=Chongqing; 苏州=Suzhou; 桂林=Guilin; 黄山=Mount Huangshan; 东京=Tokyo; 京都=Kyoto; 巴黎=Paris; 伦敦=London; 纽约=New York; 威尼斯=Venice; 罗马=Rome; 埃及=Egypt; 冰岛=Iceland; 瑞士=Switzerland; 舞台=a stage; 赛道=a race track; 操场=a playground; 球场=a sports field; 墓地=a graveyard; 地下城=a dungeon; 地牢=a dungeon
    """,
    "sky": """
        太阳/日/红日=the sun; 月亮/月=the moon; 满月/圆月=a full moon; 弯月/月牙=a crescent moon; 星星/星=stars; 流星/流星雨=shooting stars; 极光=aurora; 彩虹=a rainbow; 云/云朵/云彩=clouds; 白云=white clouds; 乌云=dark clouds; 晚霞/火烧云/彩霞=a glowing sunset sky; 朝霞=a glowing dawn sky; 阳光=sunlight; 月光/月色=moonlight; 星光=starlight; 光/光线=light; 光芒=rays of light; 逆光=backlight; 露珠=dew drops; 水滴=water drops; 雪花=snowflakes; 冰/冰块=ice; 雪/积雪/白雪=snow; 沙子/沙=sand
    """,
    "time": """
        黎明时分=dawn; 夕阳/日落/落日/日落时分/黄昏/傍晚/夕阳西下=sunset; 日出/黎明/拂晓/破晓=sunrise; 早晨/早上/清晨/清早/早=morning; 上午=morning; 中午/正午=noon; 下午/午后=afternoon; 晚上/夜晚/夜里/夜间/夜/黑夜/夜色/深夜/晚=night; 午夜/半夜/半夜三更=midnight; 白天/大白天/白昼=daytime; 黄金时刻=golden hour; 蓝调时刻=blue hour
    """,
    "season": """
        春天/春季/春/春日=spring; 夏天/夏季/夏/夏日/盛夏=summer; 秋天/秋季/秋/秋日/深秋=autumn; 冬天/冬季/冬/冬日/寒冬=winter
    """,
    "weather": """
        雨天/下雨/雨/下着雨/雨中/下雨天=rain; 小雨/细雨/毛毛雨=light rain; 大雨/暴雨/倾盆大雨=heavy rain; 雪天/下雪/下着雪/飘雪/雪中=falling snow; 大雪/暴雪/暴风雪=a snowstorm; 雾/大雾/起雾/雾气=fog; 薄雾/晨雾=mist; 阴天/多云=cloudy weather; 晴天/出太阳/阳光明媚/大晴天/晴=sunny weather; 暴风雨/风暴=a storm; 闪电/雷电/打雷=lightning; 大风/刮风/风=wind; 台风/龙卷风=a tornado; 沙尘暴=a sandstorm
    """,
    "medium": """
        照片/相片/摄影/摄影作品=a photo; 图片/图/图像/图画=a picture; 画/绘画/画作=a painting; 油画=an oil painting; 水彩画/水彩=a watercolour painting; 水墨画/水墨/国画/中国画=a Chinese ink wash painting; 山水画=a Chinese landscape painting of mountains and rivers; 工笔画=a gongbi painting; 素描/铅笔画/铅笔素描=a pencil sketch; 速写=a sketch; 简笔画/线稿/线条画=a line drawing; 插画/插图=an illustration; 版画/木刻/木版画=a woodblock print; 浮世绘=a ukiyo-e woodblock print; 漫画=a comic; 卡通/卡通画=a cartoon; 动漫/动画/日漫/二次元/日系动漫=anime; 像素画/像素=pixel art; 海报=a poster; 头像=an avatar; 肖像/肖像画/人像=a portrait; 壁画=a mural; 涂鸦=graffiti; 剪纸=papercut art; 蜡笔画/蜡笔=a crayon drawing; 粉笔画=a chalk drawing; 粉彩/色粉画=a pastel drawing; 刺绣=embroidery; 贴纸=a sticker; 标志/图标=a logo; 三维/三维渲染=a 3D render; 黏土/粘土=claymation; 乐高/积木=made of LEGO; 折纸=origami; 明信片=a postcard; 概念图/概念艺术=concept art; 壁纸=a wallpaper; 特写=a close-up; 风景画=a landscape painting; 风景照=a landscape photo; 自拍/自拍照=a selfie; 抽象画=an abstract painting; 儿童画=a child's drawing; 彩铅/彩铅画/彩色铅笔画=a coloured pencil drawing
    """,
    "style": """
        宫崎骏/吉卜力=Studio Ghibli; 新海诚=Makoto Shinkai; 梵高/凡高=Van Gogh; 莫奈=Monet; 毕加索=Picasso; 达芬奇=Leonardo da Vinci; 达利=Salvador Dali; 齐白石=Qi Baishi; 张大千=Zhang Daqian; 葛饰北斋=Hokusai; 克里姆特=Klimt; 伦勃朗=Rembrandt; 蒙德里安=Mondrian; 穆夏=Alphonse Mucha; 迪士尼=Disney; 皮克斯=Pixar; 赛博朋克=cyberpunk; 蒸汽朋克=steampunk; 蒸汽波=vaporwave; 哥特/哥特式=gothic; 巴洛克=baroque; 洛可可=rococo; 文艺复兴=Renaissance; 印象派/印象主义=impressionism; 后印象派=post-impressionism; 超现实/超现实主义=surrealism; 立体主义/立体派=cubism; 波普/波普艺术=pop art; 极简主义=minimalism; 表现主义=expressionism; 写实主义/现实主义=realism; 国风/中国风/古风=traditional Chinese style; 日式动漫=Japanese anime; 敦煌=Dunhuang mural; 武侠/仙侠=wuxia; 科幻=science fiction; 童话=fairy tale; 胶片=film photography; 电影/电影感/电影级=cinematic; 黑白=black and white; 单色=monochrome; 怀旧=nostalgic; 扁平/扁平化=flat design; 低多边形=low poly; 手绘=hand-drawn; 暗黑=dark fantasy; 治愈/治愈系=heartwarming
    """,
    "painting": """
        梵高的星空/梵高星空/星月夜=Van Gogh's Starry Night; 蒙娜丽莎=the Mona Lisa; 神奈川冲浪里=The Great Wave off Kanagawa; 清明上河图=Along the River During the Qingming Festival; 千里江山图=A Thousand Li of Rivers and Mountains; 睡莲=Water Lilies
    """,
    "quality": """
        高清/高清晰=high resolution; 超高清=ultra high resolution; 高质量/高品质=high quality; 杰作/大师作品=masterpiece; 细节丰富/丰富细节/更多细节=highly detailed; 细节=details; 景深/背景虚化/虚化=shallow depth of field; 广角=wide angle; 全景=panorama; 俯视/鸟瞰/航拍=aerial view; 仰视/仰拍=low angle view; 侧面/侧脸=side view; 正面=front view; 全身=full body; 半身=upper body; 对称=symmetrical; 模糊=blurry; 低质量=low quality; 微距=macro; 暖色调/暖色=warm colours; 冷色调/冷色=cool colours; 氛围/气氛=atmosphere; 体积光=volumetric light; 电影光效/电影光=cinematic lighting; 柔光=soft light; 饱和度=saturation; 构图=composition; 颜色/色彩/色调=colours; 画面=image; 圣诞节/圣诞=Christmas; 春节/新年/过年=Chinese New Year; 中秋节/中秋=Mid-Autumn Festival; 万圣节=Halloween; 生日=birthday; 婚礼=a wedding; 派对/聚会=a party; 节日=a festival; 音乐=music; 爱心/心形=hearts; 爱情=love
    """,
    "material": """
        木/木头/木质/木制=wooden; 石/石制/石头做=stone; 金属/铁/钢铁=metal; 玻璃=glass; 水晶=crystal; 丝绸=silk; 皮/皮革/皮质=leather; 陶瓷/瓷器=porcelain; 塑料=plastic; 纸/纸质=paper; 棉=cotton; 羊毛=woollen; 大理石=marble; 砖=brick; 玉=jade; 金=gold; 银=silver; 铜=bronze; 冰雕=ice sculpture; 毛绒=plush; 竹制=bamboo; 稻草=straw
    """,
    "verb": """
        玩耍/玩/嬉戏=playing; 奔跑/跑/跑步/飞奔=running; 走/走路/行走/漫步/散步=walking; 走过=walking past; 站/站立/站着=standing; 坐/坐着=sitting; 躺/躺着=lying; 趴/趴着=lying; 睡觉/睡/睡着/沉睡/熟睡=sleeping; 飞/飞舞/飞行=flying; 游泳/游/游动=swimming; 跳/跳跃/跳起=jumping; 跳舞/起舞/舞蹈=dancing; 唱歌/唱=singing; 微笑/笑/笑着/大笑=smiling; 哭/哭泣=crying;
        吃/吃着=eating; 喝/喝着=drinking; 喝茶/品茶=drinking tea; 喝咖啡=drinking coffee; 吃饭=eating; 看书/读书/阅读/看着书=reading a book; 看/看着/望/望着/凝视/眺望=looking at; 写字=writing; 画画=painting; 工作=working; 学习=studying; 弹钢琴=playing the piano; 弹吉他=playing the guitar; 弹=playing; 拉小提琴=playing the violin; 踢足球/踢球=playing football; 打篮球=playing basketball; 下棋=playing chess; 钓鱼/垂钓=fishing; 做饭/烹饪=cooking; 打电话=talking on the phone; 拍照=taking photos; 骑/骑着=riding; 骑自行车/骑单车=riding a bicycle; 骑马=riding a horse; 开车/驾驶=driving;
        穿/穿着/身穿/身着=wearing; 戴/戴着/戴上/头戴/佩戴=wearing; 拿/拿着/握着/手持/手拿/手里拿着/举着/提着/手捧/捧着/叼着=holding; 抱/抱着/怀抱=hugging; 撑/撑着/打着/打=holding; 背着=carrying; 牵着=leading; 追/追逐=chasing; 飘/飘浮/漂浮/飘扬=floating; 停/停着/停靠/停泊=parked; 行驶=driving; 航行=sailing; 燃烧=burning; 喷火=breathing fire; 发呆=daydreaming; 冥想/打坐=meditating; 战斗/打架/打斗=fighting; 拥抱=hugging; 亲吻/接吻=kissing; 爬/攀爬=climbing; 等待/等=waiting; 旅行=travelling; 探险=exploring; 滑雪=skiing; 滑冰=skating; 冲浪=surfing; 野餐=having a picnic; 露营=camping; 购物=shopping; 洗澡=bathing; 倒映=reflected; 环绕/围绕=surrounded by; 装满=filled with; 铺满/长满/开满/布满=covered with; 覆盖=covered with; 看海=looking at the sea; 晒太阳=basking in the sun; 放风筝=flying a kite; 吹泡泡=blowing bubbles; 荡秋千=playing on a swing; 骑着马=riding a horse; 回头=looking back; 飞过=flying past; 切开=cut open; 打开=opened; 关着=closed; 亲=kissing; 抓=catching; 叼=holding; 咬=biting; 拉=pulling; 推=pushing; 举=raising; 扔=throwing; 敲=knocking; 挂/挂着=hanging; 摆/摆着=placed; 靠/靠着=leaning; 跪=kneeling; 蹲/蹲着=squatting; 弹琵琶=playing the pipa lute; 打球=playing ball; 打排球=playing volleyball; 打网球=playing tennis; 打太极/打太极拳=practising tai chi; 练剑=practising the sword; 练功=practising martial arts; 修炼=cultivating; 打伞/撑伞=holding an umbrella; 荡漾=rippling; 闪烁=twinkling; 照耀/照/洒=shining; 对视=looking at each other; 牵手/手牵手=holding hands; 聊天=chatting; 打游戏/玩游戏=playing video games; 听音乐=listening to music; 吹风=feeling the breeze; 看日出=watching the sunrise; 看星星=stargazing; 看电视=watching television; 看月亮=looking at the moon; 赏月=admiring the moon; 喂=feeding; 遛狗=walking a dog; 比心=making a heart gesture; 敬礼=saluting; 鞠躬=bowing; 飞奔而来=running towards the viewer 思考=thinking; 祈祷=praying; 挥手=waving; 飘落/落下=falling; 流淌=flowing; 升起=rising
    """,
}

# English words that no Chinese entry brings along, for telling what kind of thing a word is.
ENGLISH: dict[str, str] = {
    "animal": "puppy pup doggy doggo bunny kitty pony mare foal calf bull ox lamb piglet hen bat otter seal "
    "beaver raccoon badger moose lynx panther gull pigeon raven hawk falcon sparrow pelican flamingo "
    "salmon tuna trout lobster moth ladybug beetle pegasus griffin retriever terrier bulldog spaniel "
    "dalmatian labrador tabby chihuahua sloth llama bison pug",
    "person": "guy gal lady gentleman kid toddler teenager human crowd tourist pedestrian figure men women "
    "character hero heroine grandmother grandfather grandma grandpa sailor captain hunter viking "
    "cyborg android mage sorcerer goddess god giant dwarf goblin orc lumberjack surfer boxer dad mum mom",
    "vehicle": "bike plane jet van lorry truck tram trolley scooter yacht canoe kayak ferry starship "
    "spacecraft tractor limousine jeep convertible motorbike skateboard",
    "building": "cottage hut cabin mansion barn shack tent skyscraper cathedral mosque fortress tavern inn "
    "pub diner station garage shed stadium arena office bakery monastery treehouse igloo",
    "place": "ocean shore meadow field woods wood plain savanna swamp marsh fjord bay lagoon reef cave cavern "
    "hill peak landscape seascape cityscape suburb harbor port plaza park yard boulevard avenue dungeon "
    "countryside tundra oasis mars venus jupiter mountain",
    "food": "burger sandwich pancake waffle pie donut doughnut muffin croissant pasta spaghetti taco curry "
    "avocado pear plum cocktail latte espresso pumpkin",
    "clothing": "cap beanie skirt gown blouse robe hoodie vest shoe boot sneaker glove sock helmet hat tie "
    "bowtie monocle moustache mustache beard cape crown tiara necklace",
    "colour": "violet crimson scarlet maroon navy turquoise magenta fuchsia indigo lilac cream ivory tan "
    "blonde blond brunette olive lime emerald ruby gray gold grey peach copper khaki charcoal amber mauve mint burgundy",
    "season": "fall",
}

# What less of something is more of.
OPPOSITES = {
    "dark": "bright", "bright": "dark", "light": "dark", "big": "small", "large": "small", "small": "big", "tiny": "big",
    "cold": "warm", "warm": "cool colours", "hot": "cool", "crowded": "empty", "busy": "simple", "simple": "detailed",
    "empty": "rich in detail", "plain": "detailed", "complex": "simple", "colourful": "muted colours", "colorful": "muted colours",
    "saturated": "muted colours", "high contrast": "low contrast", "noisy": "clean", "dynamic": "calm", "strong shadows": "soft light", "vivid": "muted colours", "sad": "happy", "scary": "friendly", "realistic": "stylised",
    "cartoonish": "realistic", "fake": "realistic", "old": "young", "young": "old", "blurry": "sharp", "close": "wide shot",
    "far": "close-up", "boring": "dramatic", "fat": "slim", "thin": "chubby", "gloomy": "cheerful", "serious": "cheerful",
    "long": "short", "short": "long", "harsh": "soft light", "soft": "sharp", "messy": "tidy", "clean": "shabby", "abstract": "realistic", "dull": "vivid", "pale": "vivid",
}  # fmt: skip

# What stands where in mainland spelling, for texts in traditional characters.
TRADITIONAL = (
    "個个們们這这樣样還还來来說说對对錯错換换變变過过畫画張张圖图風风藍蓝綠绿黃黄紅红貓猫馬马鳥鸟魚鱼龍龙龜龟鴨鸭鵝鹅雞鸡獅狮蝦虾鯨鲸豬猪貝贝車车輛辆飛飞機机雲云陽阳"
    "陰阴傘伞裡里裏里後后邊边間间門门橋桥樓楼樹树葉叶島岛灘滩遠远鄉乡鎮镇莊庄場场園园臺台臉脸頭头發发髮发鬍胡鬚须褲裤裝装鏡镜圍围從从無无沒没為为與与請请幫帮給给謝谢"
    "嗎吗麼么誰谁時时晝昼鐘钟點点幾几兩两隻只條条雙双滿满開开關关長长寬宽橫横豎竖複复舊旧漢汉國国東东見见覺觉聽听讀读書书寫写學学醫医師师歲岁爺爷媽妈孫孙戀恋愛爱歡欢"
    "樂乐傷伤憤愤靜静熱热鬧闹亂乱麗丽華华輕轻細细節节質质塊块廣广鳳凤蘋苹麵面餅饼飯饭餃饺湯汤鹽盐動动實实駱骆駝驼驢驴騎骑騰腾驚惊夢梦詩诗燈灯籠笼燭烛煙烟電电腦脑視视"
    "劍剑槍枪寶宝鑽钻幣币鋼钢鐵铁銀银銅铜紙纸絲丝綢绸戰战鬥斗嘗尝戲戏淚泪氣气溫温濕湿霧雾颱台陸陆嶺岭峽峡巖岩礦矿溝沟澤泽濱滨顏颜純纯緊紧編编縮缩擴扩專专業业極极簡简"
    "單单優优獨独護护衛卫邁迈選选遊游戶户處处備备齊齐應应該该擬拟漁渔殭僵髒脏豔艳鮮鲜蔥葱纜缆櫻樱櫃柜蘭兰薔蔷針针網网線线組组織织練练終终經经結结維维緣缘縣县總总繪绘"
    "繼继續续虛虚號号術术補补製制規规親亲觀观訊讯記记許许設设話话認认語语調调論论講讲識识議议負负財财責责買买費费資资賣卖賽赛軍军軟软載载較较農农進进運运達达鄰邻醜丑"
    "釣钓銳锐錄录鍵键鎖锁閃闪問问聞闻際际隨随險险雜杂離离難难頂顶項项順顺預预領领題题願愿類类飄飘館馆駕驾騷骚體体髏髅鬆松鴿鸽鷹鹰鸚鹦鵡鹉麥麦齡龄彎弯強强徑径復复恥耻"
    "惡恶慶庆憶忆懶懒拋抛掛挂採采揚扬撐撑據据擊击擁拥攝摄敗败數数暈晕暫暂曬晒會会樸朴櫥橱歐欧歷历殘残毀毁漲涨潔洁澀涩濃浓災灾營营爐炉牆墙獵猎獸兽獻献瑪玛環环產产畝亩"
    "當当盜盗盤盘眾众碼码禮礼種种稱称穩稳窩窝窮穷競竞筆笔築筑簾帘糧粮糾纠約约級级紋纹納纳罵骂羅罗習习聖圣聯联聲声職职腳脚膚肤臥卧興兴艙舱艷艳莖茎蓋盖蓮莲薩萨蘇苏蘆芦"
    "葦苇蝸蜗螢萤蟲虫蟻蚁蠟蜡"
)


@cache
def chinese() -> dict[str, tuple[str, str]]:
    """Chinese word to its English and its category."""
    words: dict[str, tuple[str, str]] = {}
    for kind, text in ENTRIES.items():
        for entry in text.split(";"):
            left, _, right = entry.strip().partition("=")
            for word in left.split("/"):
                words.setdefault(word, (right, kind))
    return words


@cache
def longest() -> int:
    """How many characters the longest Chinese word has."""
    return max(map(len, chinese()))


@cache
def english() -> dict[str, str]:
    """English word (singular, lower case) to its category; a phrase counts by its last word."""
    words: dict[str, str] = {}
    for kind, text in ENGLISH.items():
        for word in text.split():
            words.setdefault(word, kind)
    for phrase, kind in chinese().values():
        if kind in ("medium", "style", "painting", "quality", "verb"):
            continue
        if " " not in bare(phrase) or kind not in (
            "colour",
            "adjective",
            "material",
            "time",
            "weather",
        ):
            words.setdefault(singular(bare(phrase).split()[-1].lower()), kind)
    words.pop("space", None)
    return words


@cache
def simplified() -> dict[int, str]:
    """A table for `str.translate` from traditional to mainland characters."""
    return {ord(old): new for old, new in zip(TRADITIONAL[::2], TRADITIONAL[1::2], strict=True)}


def bare(phrase: str) -> str:
    """The phrase without its article."""
    first, _, rest = phrase.partition(" ")
    return rest if rest and first.lower() in ("a", "an", "the", "some") else phrase


IRREGULAR = {
    "people": "person",
    "persons": "person",
    "children": "child",
    "men": "man",
    "women": "woman",
    "wolves": "wolf",
    "mice": "mouse",
    "leaves": "leaf",
    "feet": "foot",
    "geese": "goose",
    "teeth": "tooth",
    "scarves": "scarf",
    "knives": "knife",
    "shelves": "shelf",
    "glasses": "glasses",
    "sunglasses": "sunglasses",
    "clothes": "clothes",
}


def singular(word: str) -> str:
    """The singular of an English noun, by rule; a singular stays what it is."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses", "zes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        return word[:-1]
    return word


def plural(word: str) -> str:
    """The plural of an English noun, by rule; a plural stays what it is."""
    if word != singular(word) or word in IRREGULAR.values():
        return {value: key for key, value in IRREGULAR.items() if key != "persons"}.get(word, word)
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    if word.endswith(("ch", "sh", "x", "s", "z")):
        return word + "es"
    return word + "s"


def category(phrase: str) -> str | None:
    """What kind of thing an English noun phrase names: the category of its last known word."""
    words = english()
    for word in reversed(phrase.lower().replace(",", " ").split()):
        found = words.get(word) or words.get(singular(word))
        if found and found not in ("adjective", "material"):
            return found
    return None


@cache
def _counted() -> dict[str, str]:
    return {
        bare(phrase): phrase for phrase, _ in chinese().values() if phrase.startswith(("a ", "an "))
    }


def articled(noun: str) -> str:
    """The noun with its article, if it is known to be counted: "a lion", but "snow"."""
    return _counted().get(noun, noun)
