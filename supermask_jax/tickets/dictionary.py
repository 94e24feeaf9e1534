"""The preset dictionary of a ticket's metadata: text that it is likely to repeat.

Part of format version 1 for good: a byte changed here would make every ticket unreadable.
``docs/ticket-format.md`` holds the same bytes.
"""

DICTIONARY = (
    b'"scope":"layer","variant":"sampled","rescale":true,"evaluation":"rounded","densities":[0.5'
    b',0.25,0.1],"name":"multicoat","name":"biprop","name":"bernoulli","name":"edge_popup","name'
    b'":"signed_topk","start_density":1.0,"scope":"global","fraction":0.4,"rule":"fraction_of_ma'
    b'x","params":[["conv1/bias",[64]],["dense1/bias",[256]]],"batch_stats":[["conv1_norm/bn/mea'
    b'n",[64]],["conv1_norm/bn/var",[64]],["dense1_norm/bn/mean",[256]],["dense1_norm/bn/var",[2'
    b'56]]],"coding":"values","kept":"magnitudes":[{"coding":"signs","kept":1,"magnitudes":[0.1]'
    b',"name":"conv8/kernel","shape":[3,3,512,512]},{"coding":"signs","kept":1,"magnitudes":[0.1'
    b'],"name":"conv1/kernel","shape":[3,3,3,64]},{"coding":"signs","kept":1,"magnitudes":[0.1],'
    b'"name":"conv2/kernel","shape":[3,3,64,64]},{"coding":"signs","kept":1,"magnitudes":[0.1],"'
    b'name":"dense1/kernel","shape":[16384,256]},{"coding":"signs","kept":1,"magnitudes":[0.1],"'
    b'name":"dense2/kernel","shape":[256,256]},{"coding":"signs","kept":1,"magnitudes":[0.1],"na'
    b'me":"dense3/kernel","shape":[256,10]}],"sha256":"","data":"cifar10","images":10000,"data":'
    b'"mnist","split":"test","value":0.9"name":"sgd","weight_decay":0.0001,"learning_rate":0.1,"'
    b'nesterov":false,"per_epoch":true,"name":"cosine","scale":"he","scale":"elus_sqrt6","activa'
    b'tion":"relu","norm":"batch","name":"conv2","name":"conv4","name":"conv6","name":"conv8","i'
    b'mage_shape":[32,32,3],"augment":"crop_flip","preprocess":"mean_std","protocol":"validation'
    b'","seed":0,"validation_fraction":0.1,{"accuracy":{"data":"mnist","images":10000,"split":"t'
    b'est","value":0.97},"batch_stats":[],"coded":1000,"config":{"batch_size":128,"checkpoints_t'
    b'o_keep":3,"compute_dtype":"float32","data":{"augment":"none","name":"mnist","pad":"black",'
    b'"preprocess":"standardize","shuffle":true},"epochs":100,"eval_batch_size":500,"method":{"a'
    b'nneal":0.5,"density":0.0,"name":"signed","score_init":{"distribution":"uniform","gain":1.0'
    b',"scale":"xavier"},"threshold":{"rule":"absolute","value":0.01}},"model":{"activation":"el'
    b'u","name":"fcn","norm":"none","norm_affine":false,"norm_frozen":false,"width":1.0},"name":'
    b'"fcn-published","num_seeds":1,"optimizer":{"learning_rate":0.05,"momentum":0.9,"name":"sgd'
    b'w","nesterov":true,"weight_decay":0.0005},"protocol":"paper","schedule":{"every":10.0,"nam'
    b'e":"exponential","rate":0.9,"staircase":false},"seed":0,"validation_fraction":0.1,"weight_'
    b'init":{"distribution":"signed_constant","gain":1.0,"scale":"elus_sqrt3"}},"image_shape":[2'
    b'8,28,1],"layers":[{"coding":"signs","kept":1,"magnitudes":[0.0618],"name":"dense1/kernel",'
    b'"shape":[784,300]},{"coding":"signs","kept":1,"magnitudes":[0.1],"name":"dense2/kernel","s'
    b'hape":[300,100]},{"coding":"signs","kept":1,"magnitudes":[0.1732],"name":"dense3/kernel","'
    b'shape":[100,10]}],"method":"signed","model":{"activation":"elu","name":"fcn","norm":"none"'
    b',"norm_affine":false,"norm_frozen":false,"width":1.0},"num_classes":10,"params":[],"prepro'
    b'cessing":{"name":"standardize"},"sha256":"","versions":{"flax":"0.12.8","jax":"0.10.2","nu'
    b'mpy":"2.4.6","supermask-jax":"0.1.0"},"weights_sha256":""}'
)
